#!/usr/bin/env bash
# Draws the preview pictures of the dashboards into docs/images, from what a real Prometheus answers. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

usage() {
  cat <<'HELP'
Draws preview pictures of the six dashboards into docs/images: the whole product runs under load, its Prometheus answers
every panel's queries, and Chromium photographs a page drawn from the answers. They are previews, not Grafana's work.

  ./scripts/previews.sh [--minutes N]           after N minutes of load (30), which the pictures then show
  ./scripts/previews.sh --prometheus URL [--minutes N]
                                                from what this Prometheus holds of the last N minutes; nothing is started

Missing Debian packages are installed first (it asks if it runs on a terminal).
HELP
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac
cd "$ROOT"
require_cargo
TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
mkdir -p "$TARGET_DIR"
trap end_install EXIT
install_missing "$TARGET_DIR/install.log" no cc make redis-server mariadbd prometheus prometheus-alertmanager \
  prometheus-node-exporter victoria-metrics chromium pngquant
fc-list 2>/dev/null | grep -q 'Inter' || warn "Debian's package fonts-inter is not installed: the pictures use another font"
note "building"
cargo build --locked --quiet -p techsapo -p techsapo-exporter -p techsapo-tests --bins
TECHSAPO_BIN_DIR=$TARGET_DIR/debug "$TARGET_DIR/debug/previews" "$@"
for picture in docs/images/techsapo-*.png; do
  pngquant --force --ext .png --skip-if-larger --strip 128 "$picture"
done
