#!/usr/bin/env bash
# Unpacks a Prometheus 3 and its promtool beside the installed Prometheus 2, and says in which folder they are, so that
# tests run on both. Nothing is installed: the packages are those of Debian's next release, fetched once from the mirror that
# apt is set to, into the build's folder.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/prometheus-3

is_3() { "$1/prometheus" --version 2>&1 | grep -q '^prometheus, version 3\.' && [[ -x $1/promtool ]]; }

fetch_packages() {
  local suite work=$FOLDER.new
  for suite in testing unstable; do
    unpack_packages "$work" "$suite" prometheus promtool || continue
    if is_3 "$work/unpacked/usr/bin"; then
      rm -rf "$FOLDER"
      mv "$work/unpacked/usr/bin" "$FOLDER"
      rm -rf "$work"
      return
    fi
  done
  die "Debian's mirror has no Prometheus 3 that runs here."
}

main() {
  takes_nothing "$@"
  local installed
  installed=$(dirname "$(command -v prometheus || echo /none/none)")
  if is_3 "$installed" 2>/dev/null; then
    echo "$installed"
    return
  fi
  mkdir -p "$(dirname "$FOLDER")"
  exec 9>>"$FOLDER.lock"
  flock 9
  is_3 "$FOLDER" 2>/dev/null || fetch_packages
  echo "$FOLDER"
}

main "$@"
