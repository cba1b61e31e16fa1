#!/usr/bin/env bash
# Shows that the newest backup can be restored, by restoring it: into servers of its own that are gone afterwards. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/textfile.sh
source "$ROOT/scripts/lib/textfile.sh"
# shellcheck source-path=SCRIPTDIR source=lib/backup.sh
source "$ROOT/scripts/lib/backup.sh"
# shellcheck source-path=SCRIPTDIR source=lib/stores.sh
source "$ROOT/scripts/lib/stores.sh"
# shellcheck source-path=SCRIPTDIR source=lib/scratch.sh
source "$ROOT/scripts/lib/scratch.sh"

usage() {
  cat <<'HELP'
Restores the newest backup into servers that exist for this alone, and compares what is in them with what the backup says that it holds.
Nothing of the real servers is touched.

  ./scripts/verify-backup.sh                   the newest backup of each kind
  ./scripts/verify-backup.sh --set STAMP       this set (./scripts/backup.sh --list tells which there are)
  ./scripts/verify-backup.sh --only KIND,…     these kinds alone
  ./scripts/verify-backup.sh --help

  --settings FILE    instead of /etc/techsapo/backup.conf
  --quiet            say only what is wrong (for cron)

  redis       a redis-server loads it: as many keys, those that have expired meanwhile among them
  audit       a database server takes the dump: as many rows in each table
  config      every file is unpacked: as many
  metrics     a Prometheus reads the blocks: as many samples, and the series that there were
  long-term   a VictoriaMetrics takes the export: the series that there were
  off-host    the repository has the newest set, byte for byte, and restic finds nothing wrong with it

Before that, each file's size and SHA-256 are compared with the manifest. It needs the private key, the programs of the servers
(redis-server, mariadbd or mysqld, prometheus, victoria-metrics), and room for all of it in TMPDIR.
Ends with 0 if all of it is sound, else with 1, and tells Prometheus either way.
HELP
  settings_help
}

QUIET=no
BROKEN=()
SET=''
REPORT=no # whether there is something that Prometheus was not told yet

detail() { [[ $QUIET == yes ]] || note "$*"; }

finish() {
  local status=$? kind
  trap - EXIT
  scratch_end
  if [[ $REPORT == yes ]]; then
    for kind in "${CHOSEN[@]}"; do
      if [[ -z ${GAUGES["techsapo_backup_verification_success{kind=\"$kind\"}"]:-} ]]; then gauge techsapo_backup_verification_success kind "$kind" 0; fi
    done
    tell_prometheus
  fi
  if [[ -n $WORK ]]; then rm -rf "$WORK"; fi
  exit "$status"
}

# same WHAT FOUND WANTED: says on stderr if they differ.
same() {
  [[ $2 == "$3" ]] && return
  printf '%s: %s were restored, %s were backed up\n' "$1" "$2" "$3" >&2
  return 1
}

# count STAMP KIND WHAT
count() { counts_of "$1" "$2" | sed -n "s/^$3 //p"; }

# --- each kind: STAMP FILE FOLDER ---------------------------------------------------------------------------------

verify_redis() {
  unsealed "$2" >"$3/dump.rdb" || return
  scratch_redis "$3" || return
  # What has expired since is passed over when it is loaded.
  same keys $(($(scratch_redis_info "$3" rdb_last_load_keys_loaded) + $(scratch_redis_info "$3" rdb_last_load_keys_expired))) "$(count "$1" redis keys)"
}

verify_audit() {
  local table rows status=0
  scratch_mysql "$3" || return
  scratch_sql "$3" 'CREATE DATABASE techsapo_audit' || return
  unsealed "$2" | gunzip | scratch_sql "$3" - techsapo_audit || return
  while read -r table rows; do
    same "rows of $table" "$(scratch_sql "$3" "SELECT COUNT(*) FROM \`$table\`" techsapo_audit)" "$rows" || status=1
  done < <(counts_of "$1" audit)
  return "$status"
}

verify_config() {
  unsealed "$2" | tar --extract --gzip --file=- --directory="$3" || return
  same files "$(find "$3" ! -type d | wc -l)" "$(count "$1" config files)"
}

verify_metrics() {
  local what series
  mkdir "$3/data"
  unsealed "$2" | tar --extract --gzip --file=- --directory="$3/data" || return
  same samples "$(samples_in "$3/data")" "$(count "$1" metrics samples)" || return
  scratch_prometheus "$3" || return
  if grep -qi 'level=error' "$3/prometheus.log"; then grep -i 'level=error' "$3/prometheus.log" | tail -n 2 >&2; return 1; fi
  read -r what series < <(counts_of "$1" metrics | grep '^series@')
  at_least series "$(series_at "$SCRATCH_URL" "${what#series@}")" "$series"
}

verify_long_term() {
  local what series
  scratch_long_term "$3" || return
  unsealed "$2" | gunzip | ask "$SCRATCH_URL/api/v1/import/native" --request POST --upload-file - || return
  ask "$SCRATCH_URL/internal/force_flush" >/dev/null || return
  read -r what series < <(counts_of "$1" long-term | grep '^series@')
  at_least series "$(series_until "$SCRATCH_URL" "${what#series@}")" "$series"
}

# at_least WHAT FOUND WANTED. What was measured shortly before the backup can be more in it: a sample was still on its way.
at_least() {
  ((${2:-0} >= $3)) && return
  printf '%s: %s were restored, %s were there when it was backed up\n' "$1" "${2:-none}" "$3" >&2
  return 1
}

# --- all of it ----------------------------------------------------------------------------------------------------

one() {
  local kind=$1 stamp=${SET} began=$SECONDS folder=$WORK/$1
  if [[ -z $stamp ]] && ! stamp=$(newest_with "$kind"); then
    broken "$kind" "there is no backup of it in ${SETTING[DIR]}"
    return
  fi
  mkdir -p "$folder"
  if ! (
    # Its servers end with it.
    trap scratch_end EXIT
    exec 9>&-
    whole "$stamp" "$kind" && "verify_${kind//-/_}" "$stamp" "${SETTING[DIR]}/$(file_of "$kind" "$stamp")" "$folder"
  ) >"$WORK/said" 2>"$WORK/error"; then
    broken "$kind" "$stamp: $(reasons "$WORK/error")"
  else
    sound "$kind"
    detail "$(printf '%-10s restored from %s: %s (%d s)' "$kind" "$stamp" "$(counts_of "$stamp" "$kind" | paste -sd ',' | sed 's/,/, /g')" $((SECONDS - began)))"
  fi
  rm -rf "$folder"
}

sound() {
  gauge techsapo_backup_verification_success kind "$1" 1
  gauge techsapo_backup_last_verified_timestamp_seconds kind "$1" "$(date +%s)"
}

broken() {
  warn "$1: $2"
  BROKEN+=("$1")
  gauge techsapo_backup_verification_success kind "$1" 0
}

# The repository's newest set is ours, and is there whole.
off_host() {
  local stamp
  stamp=$(stamps | head -n 1)
  if (in_repository "$stamp") >"$WORK/said" 2>"$WORK/error"; then
    sound "$OFF_HOST"
    detail "$(printf '%-10s the repository has %s, byte for byte' "$OFF_HOST" "$stamp")"
  else
    broken "$OFF_HOST" "$(tail -n 3 "$WORK/error" | paste -sd ' ' | cut -c 1-600)"
  fi
}

in_repository() {
  local kind name size digest found
  restic_do check || return
  while read -r kind name size digest; do
    found=$(restic_do dump --tag "techsapo,$1" latest "/$name" | sha256sum) || return
    [[ $found == "$digest "* ]] || { printf 'the repository has another %s (%s)\n' "$name" "$kind, $size bytes" >&2; return 1; }
  done < <(manifest_get "$1" file)
}

main() {
  local only='' kind
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --only) needs_value "$@" && only=$2 && shift ;;
      --set) needs_value "$@" && SET=$2 && shift ;;
      --settings) needs_value "$@" && SETTINGS_FILE=$2 && shift ;;
      --quiet) QUIET=yes ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  read_settings
  if [[ -n $only ]]; then choose_kinds "$only"; fi
  trap finish EXIT
  make_work
  REPORT=yes
  require_key
  if [[ -n $SET && ! -r $(manifest_of "$SET") ]]; then
    REPORT=no
    die "there is no backup $SET in ${SETTING[DIR]}. See: ./scripts/backup.sh --list"
  fi
  REPORT=no
  may_write_backups
  one_at_a_time "${SETTING[DIR]}/.lock-verify"
  REPORT=yes
  if [[ $QUIET == no ]]; then say "${BOLD}Restoring backups of ${SETTING[DIR]} into scratch servers${PLAIN}"; fi
  for kind in "${CHOSEN[@]}"; do one "$kind"; done
  if [[ -n ${SETTING[REPOSITORY]} && -z $only && -z $SET ]]; then off_host; fi
  REPORT=no
  tell_prometheus
  ((${#BROKEN[@]} == 0)) || die "these cannot be relied on: ${BROKEN[*]} (the reasons stand above)."
  if [[ $QUIET == no ]]; then say "${GREEN}sound${PLAIN} ($SECONDS s)"; fi
}

main "$@"
