#!/usr/bin/env bash
# Has certificates renewed daily: by a timer where systemd runs, otherwise by cron. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/schedule.sh
source "$ROOT/scripts/lib/schedule.sh"

usage() {
  cat <<'HELP'
Has ./scripts/renew-certificates.sh run once a day, at a time of this host's own, as root. Calling it again changes nothing, or takes in a
changed folder.

  ./scripts/install-renewal-cron.sh               a timer where systemd runs, otherwise an entry in /etc/cron.d
  ./scripts/install-renewal-cron.sh --uninstall   takes away either
  ./scripts/install-renewal-cron.sh --dry-run     shows what would be written, and writes nothing

  --cron, --timer    this one, whatever runs here
  --root FOLDER      writes below FOLDER (an image, a package), and starts nothing

TECHSAPO_TLS_DIR, TECHSAPO_TEXTFILE_DIR, TECHSAPO_PUBLIC_CERTIFICATE, TECHSAPO_PUBLIC_KEY and TECHSAPO_RELOAD_SECONDS, where they are set
now, are set then too.
What it says: journalctl -u techsapo-certificates, or /var/log/techsapo-certificates.log
HELP
}

main() {
  local minute hour
  minute=$(host_minute)
  hour=$((1 + minute % 4))
  # shellcheck disable=SC2034 # for schedule
  JOBS=(
    "techsapo-certificates|Renews certificates in time, and tells Prometheus when they expire|scripts/renew-certificates.sh|$minute $hour * * *|*-*-* $(printf %02d:%02d "$hour" "$minute"):00"
  )
  # shellcheck disable=SC2034 # for schedule
  PASSED=(TECHSAPO_TLS_DIR TECHSAPO_TEXTFILE_DIR TECHSAPO_PUBLIC_CERTIFICATE TECHSAPO_PUBLIC_KEY TECHSAPO_RELOAD_SECONDS)
  schedule "$@"
}

main "$@"
