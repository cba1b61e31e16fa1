#!/usr/bin/env bash
# Has PM2 rotate the logs of everything that it runs: at 10 MB, 7 kept, compressed. Safe to call again.
#
#   ./scripts/pm2-logrotate.sh [PACKAGE]
#
# PACKAGE is what npm is to fetch the module from, if not from its registry. PM2_HOME says whose PM2 (usually ~/.pm2).
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

MODULE=pm2-logrotate
# 3.0.0 takes no value of `compress` for true: it never compresses.
VERSION=2.7.0

main() {
  if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    return
  fi
  have pm2 || die "pm2 is missing. npm install --global pm2 installs it."
  pm2 install "${1:-$MODULE@$VERSION}"
  # Each `set` starts the module again, which then works by the new value.
  pm2 set "$MODULE:max_size" 10M
  pm2 set "$MODULE:retain" 7
  pm2 set "$MODULE:compress" true
  # By size alone, not also at midnight.
  pm2 set "$MODULE:rotateInterval" '0 0 1 1 *'
}

main "$@"
