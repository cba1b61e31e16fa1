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
  ./scripts/bench.sh agreement         comparing two answers, over the labelled pairs
  ./scripts/bench.sh app               what the app adds to the latency of providers that answer after 20 ms, and the CPU time
                                       of a request, with 1, 16 and 64 clients (takes two minutes)
  ./scripts/bench.sh app-peers         the same beside gateways to providers, Portkey (npm) and LiteLLM (PyPI), and the
                                       ratios (takes three minutes). Both are installed under target/ if they are missing
  ./scripts/bench.sh append            stating a fact: serialise it and copy it into the journal
  ./scripts/bench.sh parts             the parts of a request: looking at the prompt, counting it, comparing the answers, masking
                                       the log
  ./scripts/bench.sh pipeline          events counted per second of the exporter's CPU time
  ./scripts/bench.sh scrape            a page of 10 000 series, under load and at rest
  ./scripts/bench.sh series            memory, a scrape and a second with facts in it, with 1 000, 10 000 and 100 000 series
  ./scripts/bench.sh idle              the exporter at 1 000 events a second (takes a minute)
  ./scripts/bench.sh recover           a start with a backlog of a million events
  ./scripts/bench.sh telemetry         what telemetry adds to a request's CPU time in the app: one with it beside one
                                       without it, asked the same (takes five minutes)
  ./scripts/bench.sh peers             the same facts given to prom-client (npm) and netdata's statsd (Debian) and to
                                       the exporter, and the ratios. They are installed if they are missing: prom-client
                                       under target/, netdata as Debian's package, with no service of it started.
                                       What cannot be installed is left out
  ./scripts/bench.sh --write …         also writes the figures into docs/performance.md
  ./scripts/bench.sh --help            this text

Let the machine do nothing else meanwhile: also CPU time grows when two threads share a core.
HELP
}

peers=no gateways=no named=no
for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit
      ;;
    --*) ;;
    peers) peers=yes named=yes ;;
    app-peers) gateways=yes named=yes ;;
    *) named=yes ;;
  esac
done

# Everything is measured where nothing is named.
[[ $named == yes ]] || peers=yes gateways=yes

# want PROGRAM…: whether all of them are there, if need be after installing them. Failing to is no reason to end.
want() {
  (
    trap end_install EXIT
    install_missing "$TARGET_DIR/install.log" no "$@"
  )
}

# prom-client, in the version that its lock file names, into $TECHSAPO_PEERS_DIR.
install_prom_client() {
  mkdir -p "$TECHSAPO_PEERS_DIR"
  cp "$ROOT"/tests/benches/peers/package{,-lock}.json "$TECHSAPO_PEERS_DIR"
  (cd "$TECHSAPO_PEERS_DIR" && npm ci --no-audit --no-fund --silent >>"$TARGET_DIR/install.log" 2>&1 </dev/null)
}

# Portkey's gateway and LiteLLM, in the versions that their lists name, into $TECHSAPO_GATEWAYS_DIR. What is there is left alone.
install_portkey() {
  cmp -s "$ROOT/tests/benches/gateways/package-lock.json" "$TECHSAPO_GATEWAYS_DIR/node_modules/.installed" && return
  mkdir -p "$TECHSAPO_GATEWAYS_DIR"
  cp "$ROOT"/tests/benches/gateways/package{,-lock}.json "$TECHSAPO_GATEWAYS_DIR"
  (cd "$TECHSAPO_GATEWAYS_DIR" && npm ci --ignore-scripts --no-audit --no-fund --silent >>"$TARGET_DIR/install.log" 2>&1 </dev/null) &&
    cp "$ROOT/tests/benches/gateways/package-lock.json" "$TECHSAPO_GATEWAYS_DIR/node_modules/.installed"
}

install_litellm() {
  local wanted=$ROOT/tests/benches/gateways/requirements.txt home=$TECHSAPO_GATEWAYS_DIR/litellm
  cmp -s "$wanted" "$home/.installed" && return
  python3 -m venv --clear "$home" >>"$TARGET_DIR/install.log" 2>&1 &&
    "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$wanted" >>"$TARGET_DIR/install.log" 2>&1 &&
    cp "$wanted" "$home/.installed"
}

cd "$ROOT"
require_cargo
TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
mkdir -p "$TARGET_DIR"
trap end_install EXIT
install_missing "$TARGET_DIR/install.log" no cc make redis-server
if [[ $peers == yes ]]; then
  export TECHSAPO_PEERS_DIR=$TARGET_DIR/peers
  { want node npm && install_prom_client; } ||
    warn "prom-client cannot be installed and is left out (details: $TARGET_DIR/install.log)"
  PATH=$PATH:/usr/sbin want netdata ||
    warn "netdata cannot be installed and is left out (details: $TARGET_DIR/install.log)"
fi
if [[ $gateways == yes ]]; then
  export TECHSAPO_GATEWAYS_DIR=$TARGET_DIR/gateways
  { want node npm && install_portkey; } ||
    warn "Portkey's gateway cannot be installed and is left out: is npm's registry within reach? (details: $TARGET_DIR/install.log)"
  { want python3 && install_litellm; } ||
    warn "LiteLLM cannot be installed and is left out: is PyPI within reach, and python3-venv installed? (details: $TARGET_DIR/install.log)"
fi
note "building for release"
cargo build --release --locked --quiet -p techsapo -p techsapo-exporter --bins
TECHSAPO_BIN_DIR=$TARGET_DIR/release cargo bench --locked --quiet -p techsapo-tests --bench cost -- "$@"
