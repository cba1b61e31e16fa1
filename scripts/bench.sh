#!/usr/bin/env bash
# Measures what measuring costs, with release binaries on real servers. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

usage() {
  cat <<'HELP'
Measures what measuring costs, as CPU time wherever it can be. Prints a line per figure: <figure> <number> <unit>.

  ./scripts/bench.sh                   everything
  ./scripts/bench.sh append            stating a fact: serialise it and copy it into the journal
  ./scripts/bench.sh pipeline          events counted per second of the exporter's CPU time
  ./scripts/bench.sh scrape            a page of 10 000 series, under load and at rest
  ./scripts/bench.sh idle              the exporter at 1 000 events a second (takes a minute)
  ./scripts/bench.sh recover           a start with a backlog of a million events
  ./scripts/bench.sh --write …         also writes the figures into docs/performance.md
  ./scripts/bench.sh --help            this text

Let the machine do nothing else meanwhile: also CPU time grows when two threads share a core.
HELP
}

for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit
      ;;
  esac
done

cd "$ROOT"
require_cargo
TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
mkdir -p "$TARGET_DIR"
trap end_install EXIT
install_missing "$TARGET_DIR/install.log" no cc make redis-server
note "building for release"
cargo build --release --locked --quiet -p techsapo -p techsapo-exporter --bins
TECHSAPO_BIN_DIR=$TARGET_DIR/release cargo bench --locked --quiet -p techsapo-tests --bench cost -- "$@"
