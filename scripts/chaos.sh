#!/usr/bin/env bash
# The chaos run: the proof that every fact is counted exactly once, whatever is killed when. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'HELP'
Starts two apps under load, a Redis and one or two exporters, and lets happen to them what the promise survives: processes
killed and stopped, power lost, Redis emptied, trimmed, out of memory and set back, connections cut and replies lost, checkpoints
damaged and their disk full. Then everything comes to rest, and the page is held against what clients were answered, what the
journals say of themselves and what was acknowledged.

  ./scripts/chaos.sh [--seconds N] [--seed S] [--store folder|mysql] [--streams N]
  ./scripts/chaos.sh --help

  --seconds N   how long things go wrong (120); coming to rest takes up to a minute more
  --seed S      what goes wrong, and when, follows from it alone (1); the schedule is printed first
  --store S     where the exporters keep their state: a folder that they share (folder), or a row of a MariaDB whose troubles
                then take the place of the disk's (mysql)
  --streams N   streams that the apps' runs are spread over, read by the same exporters (1)

The last line says how it went, and all but the first two and the last two figures should be zero:

  accepted N counted N lost 0 doubled 0 decreases 0 kills K seed S

Ends with 0 if everything agrees. A failure says what differs, and where it left logs, journals and checkpoints. Needs redis-server, and
mariadbd with --store mysql; as root it also mounts a small disk of its own to fill up. TECHSAPO_BIN_DIR names the folder of programs that are built already.
HELP
}

TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
SCRATCH=''
RUN_PID=''

# However it ends, no server and no disk of the run is left behind; its files are, if it failed.
finish() {
  local status=$? disk
  trap - EXIT
  if [[ -n $RUN_PID ]] && end_with_children "$RUN_PID"; then status=130; fi
  for disk in "$SCRATCH"/techsapo-chaos-*/checkpoints; do
    if mountpoint -q "$disk" 2>/dev/null; then umount --lazy "$disk"; fi
  done
  if [[ -n $SCRATCH ]] && ((status == 0 || status == 130)); then rm -rf "$SCRATCH"; fi
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
      --seconds | --seed | --streams)
        [[ ${2:-} =~ ^[0-9]+$ ]] || die "$1 needs a number. See: $0 --help"
        arguments+=("$1" "$2")
        [[ $1 != --streams || $2 != 0 ]] || die "$1 needs at least 1."
        shift
        ;;
      --store)
        [[ ${2:-} == folder || ${2:-} == mysql ]] || die "$1 is folder or mysql. See: $0 --help"
        [[ $2 == folder ]] || have mariadbd || die "mariadbd is not installed; ./scripts/test.sh installs it."
        arguments+=("$1" "$2")
        shift
        ;;
      *) die "unknown option '$1'. See: $0 --help" ;;
    esac
    shift
  done
  have redis-server || die "redis-server is not installed; ./scripts/test.sh installs it."
  require_cargo
  cd "$ROOT"
  if [[ -z ${TECHSAPO_BIN_DIR:-} ]]; then
    cargo build --locked -p techsapo -p techsapo-exporter --bins
    export TECHSAPO_BIN_DIR=$TARGET_DIR/debug
  fi
  cargo build --locked -p techsapo-tests --bin chaos
  SCRATCH=$(mktemp -d)
  trap finish EXIT
  # In a session of its own: what is typed here reaches this script alone, which then cleans up.
  TMPDIR=$SCRATCH setsid -- "$TARGET_DIR/debug/chaos" ${arguments[@]+"${arguments[@]}"} </dev/null &
  RUN_PID=$!
  wait "$RUN_PID"
}

main "$@"
