#!/usr/bin/env bash
# Unpacks Compose v2, Docker's plugin, beside the installed docker-compose 1.29, and says in which folder it is, so that tests run on
# both. Nothing is installed: the package is that of Debian's release after this one, fetched once into the build's folder.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/compose-2

is_2() { "$1/docker-compose" version 2>&1 | grep -q 'version v\?2\.'; }

main() {
  takes_nothing "$@"
  mkdir -p "$(dirname "$FOLDER")"
  exec 9>>"$FOLDER.lock"
  flock 9
  if ! is_2 "$FOLDER" 2>/dev/null; then
    unpack_packages "$FOLDER.new" trixie docker-compose || die "Debian's mirror has no Compose v2."
    is_2 "$FOLDER.new/unpacked/usr/libexec/docker/cli-plugins" || die "Debian's Compose v2 does not run here."
    rm -rf "$FOLDER"
    mv "$FOLDER.new/unpacked/usr/libexec/docker/cli-plugins" "$FOLDER"
    rm -rf "$FOLDER.new"
  fi
  echo "$FOLDER"
}

main "$@"
