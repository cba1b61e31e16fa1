#!/usr/bin/env bash
# Drills: breaks something on a real stack under load, and measures what that takes. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'HELP'
Starts the production stack from real servers on free ports of 127.0.0.1, breaks something while clients ask and Prometheus
scrapes, and prints a table: how long it took, what the documents allow, requests and scrapes that failed, facts lost.

  ./scripts/drill.sh [--write] [NAME …]     all drills, or those named
  ./scripts/drill.sh --help

  failover       each component is killed (kill -9) in turn
  partition      the network between the programs and Redis goes away, and comes back
  disk-full      the disk of a journal, and of a state, is full
  certificates   all certificates are renewed; a bad one is tried
  restore        everything is lost, and restored from a backup

  --write        puts the tables into docs/operations.md

Nothing of an installation on this machine is touched. Ends with 0 if everything was back within what the documents allow.
TECHSAPO_BIN_DIR names the folder of programs that are built already; otherwise they are built for release.
HELP
}

TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
SCRATCH=''
RUN_PID=''

# However it ends, no server of the drill is left behind.
finish() {
  local status=$?
  trap - EXIT
  if [[ -n $RUN_PID ]] && end_with_children "$RUN_PID"; then status=130; fi
  if [[ -n $SCRATCH ]]; then rm -rf "$SCRATCH"; fi
  exit "$status"
}

main() {
  local -a arguments=()
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --write | failover | partition | disk-full | certificates | restore) arguments+=("$1") ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  require_cargo
  cd "$ROOT"
  if [[ -z ${TECHSAPO_BIN_DIR:-} ]]; then
    note "building for release"
    cargo build --release --locked -p techsapo -p techsapo-exporter --bins
    export TECHSAPO_BIN_DIR=$TARGET_DIR/release
  fi
  cargo build --locked -p techsapo-tests --bin drill
  SCRATCH=$(mktemp -d)
  trap finish EXIT
  # In a session of its own: what is typed here reaches this script alone, which then cleans up.
  TMPDIR=$SCRATCH setsid -- "$TARGET_DIR/debug/drill" ${arguments[@]+"${arguments[@]}"} </dev/null &
  RUN_PID=$!
  wait "$RUN_PID"
}

main "$@"
