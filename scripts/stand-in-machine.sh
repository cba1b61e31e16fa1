#!/usr/bin/env bash
# Makes the file system of a machine whose first process is systemd, from Debian's packages, once, for the tests of the services. Prints its folder.
#
#   ./scripts/stand-in-machine.sh
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/stand-ins
SUITE=bookworm

main() {
  takes_nothing "$@"
  ((EUID == 0)) || die "only root can make it."
  mkdir -p "$FOLDER"
  exec 9>>"$FOLDER/machine.lock"
  flock 9
  if [[ ! -d $FOLDER/machine ]]; then
    rm -rf "$FOLDER/machine.new"
    mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv "$SUITE" "$FOLDER/machine.new" "$(debian_mirror)" >&2 9>&-
    mv "$FOLDER/machine.new" "$FOLDER/machine"
  fi
  # What this machine trusts.
  mkdir -p "$FOLDER/machine/etc/ssl/certs"
  cp /etc/ssl/certs/ca-certificates.crt "$FOLDER/machine/etc/ssl/certs/"
  echo "$FOLDER/machine"
}

main "$@"
