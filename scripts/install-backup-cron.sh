#!/usr/bin/env bash
# Has backups made every six hours, and verified every day. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/textfile.sh
source "$ROOT/scripts/lib/textfile.sh"
# shellcheck source-path=SCRIPTDIR source=lib/backup.sh
source "$ROOT/scripts/lib/backup.sh"
# shellcheck source-path=SCRIPTDIR source=lib/schedule.sh
source "$ROOT/scripts/lib/schedule.sh"

usage() {
  cat <<'HELP'
Has ./scripts/backup.sh run every six hours and ./scripts/verify-backup.sh every day, as root. Calling it again changes nothing, or takes in what
has changed. From then on alerts tell if a backup is missing: so make the first one at once (./scripts/backup.sh).

  ./scripts/install-backup-cron.sh               timers where systemd runs, otherwise entries in /etc/cron.d
  ./scripts/install-backup-cron.sh --uninstall   takes away either
  ./scripts/install-backup-cron.sh --dry-run     shows what would be written, and writes nothing

  --cron, --timer    this one, whatever runs here
  --root FOLDER      writes below FOLDER (an image, a package), and starts nothing

Settings belong into /etc/techsapo/backup.conf (or the file that TECHSAPO_BACKUP_SETTINGS names now, which is named to the jobs too): see
./scripts/backup.sh --help. TECHSAPO_TEXTFILE_DIR and TMPDIR, where they are set now, are set then too.
What they say: journalctl -u techsapo-backup -u techsapo-verify-backup, or /var/log/techsapo-backup.log and techsapo-verify-backup.log
HELP
}

# What is not there yet is missing from now on, and not unknown.
expect_backups() {
  local kind file
  read_settings
  file=$TEXTFILE_DIR/techsapo-backup.prom
  if [[ -n ${SETTING[REPOSITORY]} ]]; then CHOSEN+=("$OFF_HOST"); fi
  for kind in "${CHOSEN[@]}"; do
    grep -qs "^techsapo_backup_last_success_timestamp_seconds{kind=\"$kind\"}" "$file" || gauge techsapo_backup_last_success_timestamp_seconds kind "$kind" 0
    grep -qs "^techsapo_backup_last_verified_timestamp_seconds{kind=\"$kind\"}" "$file" || gauge techsapo_backup_last_verified_timestamp_seconds kind "$kind" 0
  done
  tell_prometheus
}

main() {
  local minute later
  minute=$(host_minute)
  later=$(((minute + 30) % 60))
  JOBS=(
    "techsapo-backup|Backs up TechSapo's data|scripts/backup.sh --quiet|$minute */6 * * *|*-*-* 00/6:$(printf %02d "$minute"):00"
    "techsapo-verify-backup|Restores TechSapo's newest backup into scratch servers|scripts/verify-backup.sh --quiet|$later 4 * * *|*-*-* 04:$(printf %02d "$later"):00"
  )
  # shellcheck disable=SC2034 # for schedule
  PASSED=(TECHSAPO_BACKUP_SETTINGS TECHSAPO_TEXTFILE_DIR TMPDIR)
  schedule "$@"
  case $SCHEDULED in
    install) expect_backups ;;
    uninstall) rm -f "$TEXTFILE_DIR/techsapo-backup.prom" ;;
  esac
}

main "$@"
