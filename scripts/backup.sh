#!/usr/bin/env bash
# Backs up what cannot be made again: Redis, the audit, configuration, metrics. `--help` tells how; docs/backup.md what, and why not more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/textfile.sh
source "$ROOT/scripts/lib/textfile.sh"
# shellcheck source-path=SCRIPTDIR source=lib/backup.sh
source "$ROOT/scripts/lib/backup.sh"
# shellcheck source-path=SCRIPTDIR source=lib/stores.sh
source "$ROOT/scripts/lib/stores.sh"

usage() {
  cat <<'HELP'
Backs up Redis, the audit in MySQL, configuration with secrets, and metrics, each encrypted, into one folder.

  ./scripts/backup.sh                   make a set, copy it off the host if there is a repository, remove old ones
  ./scripts/backup.sh --only KIND,…     of these kinds alone: redis audit config metrics long-term
  ./scripts/backup.sh --list            the sets there are, with sizes and counts
  ./scripts/backup.sh --prune           only remove what is older than is kept
  ./scripts/backup.sh --help

  --settings FILE    instead of /etc/techsapo/backup.conf
  --quiet            say only what is wrong (for cron)

First, once:   age-keygen -o /etc/techsapo/backup.key      (apt-get install age)
               and keep a copy of that key where the end of this host does not reach: without it no backup can be opened.
Then:          ./scripts/install-backup-cron.sh            every 6 hours, and verified every day
In need:       ./scripts/restore.sh                        it shows a plan first

  /backup/redis-STAMP.rdb.age          redis-cli --rdb                          STAMP is YYYYMMDD-hhmmss in UTC.
  /backup/audit-STAMP.sql.gz.age       mysqldump --single-transaction           Each file is encrypted with age.
  /backup/config-STAMP.tar.gz.age      files and folders of CONFIG_PATHS
  /backup/metrics-STAMP.tar.gz.age     snapshot of Prometheus (15 days in detail)
  /backup/long-term-STAMP.native.gz.age   export of VictoriaMetrics (90 days of what rules record)
  /backup/manifest-STAMP.txt           sizes, SHA-256, counts; written last: files without one are no backup

Journals of the app and states of the exporter are not backed up: an old one would be counted again (docs/backup.md).

Ends with 0 if everything that was asked for was backed up, 1 if something failed (the rest is kept all the same), and tells
Prometheus in any case, by Node Exporter's textfile collector.
HELP
  settings_help
}

QUIET=no
STAMP=''
PART='' # where a set is made before it is one
FAILED=()
REPORT=no # whether there is something that Prometheus was not told yet

tell() { [[ $QUIET == yes ]] || say "$*"; }
detail() { [[ $QUIET == yes ]] || note "$*"; }

# However it ends: what is half made is gone, and somebody hears of it.
finish() {
  local status=$? kind
  trap - EXIT
  if [[ $REPORT == yes ]]; then
    for kind in "${CHOSEN[@]}"; do
      if [[ -z ${GAUGES["techsapo_backup_last_run_success{kind=\"$kind\"}"]:-} ]]; then
        gauge techsapo_backup_last_run_success kind "$kind" 0
      fi
    done
    tell_prometheus
  fi
  if [[ -n $PART ]]; then rm -rf "$PART"; fi
  if [[ -n $WORK ]]; then rm -rf "$WORK"; fi
  exit "$status"
}

# --- each kind: writes its file into PART, and "what number" lines of what is in it into $WORK/counts ---------------

counted() { printf '%s %s\n' "$1" "$2" >>"$WORK/counts"; }

backup_redis() {
  find_redis || return
  # What it prints while it goes on would bury what is wrong.
  { redis "${SETTING[TIME_LIMIT]}" --rdb - 2>"$WORK/redis-cli" || { cat "$WORK/redis-cli" >&2; return 1; }; } |
    tapped rdb redis-check-rdb /dev/stdin | sealed "$1" || { tail -n 3 "$WORK/rdb" >&2; return 1; }
  grep -q 'RDB looks OK' "$WORK/rdb" || { printf 'what Redis sent is no whole RDB file\n' >&2; return 1; }
  counted keys "$(sed -n 's/^\[info\] \([0-9]*\) keys read$/\1/p' "$WORK/rdb")"
}

# Each row is a statement of its own, on a line of its own, and names its columns: so rows can be counted on the way, and be put beside
# rows that are there.
backup_audit() {
  find_mysql
  mysql_reachable "$MYSQL_DATABASE" || return
  local -a options=(--single-transaction --quick --no-tablespaces --skip-lock-tables --skip-add-locks --skip-extended-insert
    --complete-insert --no-autocommit --hex-blob --tz-utc --default-character-set=utf8mb4)
  # MySQL's own would note the server's replication, which only an administrator may put back.
  if ! is_of_mariadb "$MYSQLDUMP"; then options+=(--set-gtid-purged=OFF); fi
  # shellcheck disable=SC2016 # These are the dump's.
  bounded "$MYSQLDUMP" --defaults-file="$WORK/mysqldump.cnf" "${options[@]}" "$MYSQL_DATABASE" |
    tapped rows env LC_ALL=C awk '
      /^CREATE TABLE `/ { split($0, part, "`"); rows[part[2]] += 0 }
      /^INSERT INTO `/ { split($0, part, "`"); rows[part[2]]++ }
      { last = $0 }
      END { for (table in rows) print table, rows[table]; print (last ~ /^-- Dump completed/ ? "whole" : "cut off") }' |
    gzip | sealed "$1" || return
  [[ $(tail -n 1 "$WORK/rows") == whole ]] || { printf 'the dump was cut off\n' >&2; return 1; }
  sed '$d' "$WORK/rows" | sort >>"$WORK/counts"
}

# Whatever of the paths is there. Never a journal, a state, or the key that the backup itself is locked with.
backup_config() {
  local path status=0 key
  local -a paths=() asked
  key=$(realpath -m "${SETTING[KEY]}")
  IFS=: read -r -a asked <<<"${SETTING[CONFIG_PATHS]}"
  for path in "${asked[@]}"; do
    if [[ -e $path ]]; then paths+=("$(realpath "$path")"); fi
  done
  ((${#paths[@]})) || { printf 'none of these is there: %s\n' "${asked[*]}" >&2; return 1; }
  bounded tar --create --file=- --verbose --index-file="$WORK/files" --directory=/ --exclude='*.journal' --exclude=audit-spill \
    --exclude=state.0 --exclude=state.1 --anchored --exclude="${key#/}" --exclude="${SETTING[DIR]#/}" "${paths[@]#/}" \
    2>"$WORK/tar" >"$WORK/tar.pipe" &
  local tar=$!
  gzip <"$WORK/tar.pipe" | sealed "$1" || return
  wait "$tar" || status=$?
  # 1: a file changed while it was read, which is the next backup's.
  if ((status > 1)); then
    cat "$WORK/tar" >&2
    return 1
  fi
  counted files "$(grep -c -v '/$' "$WORK/files")"
}

# Prometheus links its blocks into a folder of their own, beside its data; that is packed, and removed.
backup_metrics() {
  local url=${SETTING[PROMETHEUS_URL]} data=${SETTING[PROMETHEUS_DATA]} now answer name series folder status=0
  have curl || die "curl is missing; install it: apt-get install curl"
  # Before it makes a snapshot that nobody here can read or remove.
  [[ -r $data && -d $data/wal ]] || { printf '%s cannot be read, or is no data of Prometheus: TECHSAPO_BACKUP_PROMETHEUS_DATA\n' "$data" >&2; return 1; }
  # A little before now: by then every sample of that time has come.
  now=$(($(date +%s) - 20))
  series=$(series_at "$url" "$now") || return
  answer=$(ask "$url/api/v1/admin/tsdb/snapshot" --request POST) || { printf '%s\n' "$answer" >&2; return 1; }
  name=$(sed -n 's/.*"name":"\([0-9A-Za-z-]*\)".*/\1/p' <<<"$answer")
  [[ -n $name ]] || { printf '%s made no snapshot: %s\n' "$url" "$answer" >&2; return 1; }
  folder=$data/snapshots/$name
  [[ -r $folder ]] || { printf 'Prometheus made the snapshot %s (remove it there), but %s cannot be read: TECHSAPO_BACKUP_PROMETHEUS_DATA\n' "$name" "$folder" >&2; return 1; }
  counted blocks "$(find "$folder" -mindepth 2 -maxdepth 2 -name meta.json | wc -l)"
  counted samples "$(samples_in "$folder")"
  counted "series@$now" "$series"
  { bounded tar --create --file=- --directory="$folder" . | gzip | sealed "$1"; } || status=$?
  rm -rf "$folder"
  return "$status"
}

backup_long_term() {
  local url=${SETTING[LONG_TERM_URL]} now series
  have curl || die "curl is missing; install it: apt-get install curl"
  # Its newest half a minute it does not tell, and what it has only in memory it cannot.
  now=$(($(date +%s) - 60))
  ask "$url/internal/force_flush" >/dev/null || return
  series=$(series_until "$url" "$now") || return
  ask "$url/api/v1/export/native" --data-urlencode 'match[]={__name__!=""}' | gzip | sealed "$1" || return
  counted "series@$now" "$series"
}

# --- a set --------------------------------------------------------------------------------------------------------

# attempt KIND FILE: backs it up into FILE; what is wrong is in $WORK/error.
attempt() {
  rm -rf "$2" "$WORK"/counts "$WORK"/*.pipe
  : >"$WORK/counts"
  if [[ $1 == config ]]; then mkfifo "$WORK/tar.pipe"; fi
  # In a process of its own: whatever goes wrong in it, the others are backed up all the same.
  # And without our lock, which is ours alone: what it starts may outlive us if we are killed.
  (exec 9>&- && "backup_${1//-/_}" "$2" && sync "$2") 2>"$WORK/error" && return
  if grep -qi 'no space left' "$WORK/error"; then echo "the disk of ${SETTING[DIR]} or of ${TMPDIR:-/tmp} is full" >>"$WORK/error"; fi
  return 1
}

# A server may be starting again, or another be taking its place: that is no reason to be without a backup for hours.
attempt_twice() {
  attempt "$@" && return
  if ((SETTING[RETRY_AFTER] == 0)); then return 1; fi
  warn "$1 could not be backed up, and is tried again in ${SETTING[RETRY_AFTER]} s: $(reasons "$WORK/error")"
  sleep "${SETTING[RETRY_AFTER]}" 9>&-
  attempt "$@"
}

# one KIND: backs it up, and notes it in the manifest that is being written.
one() {
  local kind=$1 file began=$SECONDS size
  file=$PART/$(file_of "$kind" "$STAMP")
  gauge techsapo_backup_last_run_timestamp_seconds kind "$kind" "$(date +%s)"
  if ! attempt_twice "$kind" "$file"; then
    warn "$kind was not backed up: $(reasons "$WORK/error")"
    rm -f "$file"
    FAILED+=("$kind")
    printf 'failed %s\n' "$kind" >>"$PART/manifest"
    gauge techsapo_backup_last_run_success kind "$kind" 0
    return
  fi
  size=$(stat -c %s "$file")
  printf 'file %s %s %s %s\n' "$kind" "${file##*/}" "$size" "$(sha256sum <"$file" | cut -d ' ' -f 1)" >>"$PART/manifest"
  sed "s/^/count $kind /" "$WORK/counts" >>"$PART/manifest"
  gauge techsapo_backup_last_run_success kind "$kind" 1
  gauge techsapo_backup_last_success_timestamp_seconds kind "$kind" "$(date +%s)"
  gauge techsapo_backup_duration_seconds kind "$kind" $((SECONDS - began))
  gauge techsapo_backup_size_bytes kind "$kind" "$size"
  detail "$(printf '%-10s %8s  %s' "$kind" "$(readable_size "$size")" "$(paste -sd ',' "$WORK/counts" | sed 's/,/, /g')")"
}

make_set() {
  local kind file complete=yes
  while STAMP=$(date -u +%Y%m%d-%H%M%S) && [[ -e $(manifest_of "$STAMP") ]]; do sleep 0.2; done
  PART=${SETTING[DIR]}/.partial-$STAMP
  # Of a run that was killed within this very second: we hold the lock.
  rm -rf "$PART"
  mkdir -m 700 "$PART" 2>/dev/null || die "cannot write in ${SETTING[DIR]} (as $(id -un))."
  printf 'techsapo backup 1\nstamp %s\nhost %s\nkinds %s\n' "$STAMP" "$(uname -n)" "${CHOSEN[*]}" >"$PART/manifest" ||
    die "cannot write in ${SETTING[DIR]}: is its disk full?"
  tell "${BOLD}Backup $STAMP${PLAIN} into ${SETTING[DIR]}"
  for kind in "${CHOSEN[@]}"; do one "$kind"; done
  if ((${#FAILED[@]} == ${#CHOSEN[@]})); then return; fi
  if ((${#FAILED[@]})); then complete=no; fi
  if ! printf 'complete %s\n' "$complete" >>"$PART/manifest" || ! sync "$PART/manifest"; then
    die "the manifest cannot be written: is the disk of ${SETTING[DIR]} full?"
  fi
  for file in "$PART"/*.age; do mv "$file" "${SETTING[DIR]}/"; done
  mv "$PART/manifest" "$(manifest_of "$STAMP")"
  sync "${SETTING[DIR]}"
}

# --- what is kept -------------------------------------------------------------------------------------------------

# Of lines "STAMP yes|no" (whether the set is complete), the newest first: the stamps of those that are not kept. Days and weeks are those
# that have a complete set; an incomplete one takes nobody's place.
superseded() {
  awk '{ print substr($1, 1, 4) "-" substr($1, 5, 2) "-" substr($1, 7, 2) " " substr($1, 10, 2) ":" substr($1, 12, 2) ":" substr($1, 14, 2) }' "$1" |
    date -u -f - '+%s %Y-%m-%d %G-%V' | paste -d ' ' "$1" - |
    awk -v now="$(date +%s)" -v hours="${SETTING[KEEP_HOURS]}" -v days="${SETTING[KEEP_DAYS]}" -v weeks="${SETTING[KEEP_WEEKS]}" '
      {
        keep = NR == 1 || now - $3 < hours * 3600
        if ($2 == "yes") {
          if (!complete++) keep = 1
          if (!($4 in day)) { day[$4]; if (++of_days <= days) keep = 1 }
          if (!($5 in week)) { week[$5]; if (++of_weeks <= weeks) keep = 1 }
        }
        if (!keep) print $1
      }'
}

prune() {
  local stamp removed=0
  for stamp in $(stamps); do printf '%s %s\n' "$stamp" "$(manifest_get "$stamp" complete)"; done >"$WORK/sets"
  for stamp in $(superseded "$WORK/sets"); do
    # The manifest first: a set that lacks a file would be a broken backup.
    rm -f "$(manifest_of "$stamp")"
    find "${SETTING[DIR]}" -maxdepth 1 -name "*-$stamp.*.age" -delete
    removed=$((removed + 1))
  done
  # What a run left that was killed: nothing of it is a backup. We hold the lock, so nobody is making it.
  find "${SETTING[DIR]}" -maxdepth 1 -name '.partial-*' ! -path "$PART" -exec rm -rf {} +
  local file
  while IFS= read -r file; do
    stamp=$(sed -E 's/^.*-([0-9]{8}-[0-9]{6})\..*$/\1/' <<<"$file")
    if [[ ! -e $(manifest_of "$stamp") ]]; then rm -f "$file"; fi
  done < <(find "${SETTING[DIR]}" -maxdepth 1 -name '*-????????-??????.*.age')
  detail "$(stamps | wc -l) sets are kept; $removed older ones were removed"
}

# --- off the host -------------------------------------------------------------------------------------------------

copy_off_host() {
  local began=$SECONDS
  [[ -n ${SETTING[REPOSITORY]} ]] || return 0
  gauge techsapo_backup_last_run_timestamp_seconds kind "$OFF_HOST" "$(date +%s)"
  if (send_to_repository) >"$WORK/restic" 2>&1; then
    gauge techsapo_backup_last_run_success kind "$OFF_HOST" 1
    gauge techsapo_backup_last_success_timestamp_seconds kind "$OFF_HOST" "$(date +%s)"
    gauge techsapo_backup_duration_seconds kind "$OFF_HOST" $((SECONDS - began))
    detail "copied to the repository"
  else
    gauge techsapo_backup_last_run_success kind "$OFF_HOST" 0
    warn "nothing was copied off the host: $(tail -n 3 "$WORK/restic" | paste -sd ' ' | cut -c 1-600)"
    FAILED+=("$OFF_HOST")
  fi
}

send_to_repository() {
  have restic || die "restic is missing; install it: apt-get install restic"
  cd "${SETTING[DIR]}"
  local -a files=("manifest-$STAMP.txt") kinds
  local kind
  mapfile -t kinds < <(kinds_in "$STAMP")
  for kind in "${kinds[@]}"; do files+=("$(file_of "$kind" "$STAMP")"); done
  restic_do backup --tag techsapo --tag "$STAMP" "${files[@]}" &&
    restic_do forget --tag techsapo --group-by '' --keep-within "${SETTING[KEEP_HOURS]}h" --keep-daily "${SETTING[KEEP_DAYS]}" \
      --keep-weekly "${SETTING[KEEP_WEEKS]}" --prune
}

# --- telling ------------------------------------------------------------------------------------------------------

list() {
  local stamp kind name size digest
  for stamp in $(stamps); do
    say "$stamp  $(time_of "$stamp") UTC, on $(manifest_get "$stamp" host)$([[ $(manifest_get "$stamp" complete) == yes ]] || echo ', INCOMPLETE')"
    while read -r kind name size digest; do
      note "$(printf '%-10s %8s  %s' "$kind" "$(readable_size "$size")" "$(counts_of "$stamp" "$kind" | paste -sd ',' | sed 's/,/, /g')")"
    done < <(sed -n 's/^file //p' "$(manifest_of "$stamp")")
  done
}

main() {
  local action=backup only=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --only) needs_value "$@" && only=$2 && shift ;;
      --settings) needs_value "$@" && SETTINGS_FILE=$2 && shift ;;
      --list | --prune) action=${1#--} ;;
      --quiet) QUIET=yes ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  read_settings
  if [[ $action == list ]]; then
    list
    return
  fi
  if [[ -n $only ]]; then choose_kinds "$only"; fi
  trap finish EXIT
  make_work
  [[ $action == prune ]] || REPORT=yes
  may_write_backups
  # Who is refused here has nothing to tell: the run that is at work will.
  REPORT=no
  one_at_a_time "${SETTING[DIR]}/.lock"
  if [[ $action == prune ]]; then
    prune
    return
  fi
  REPORT=yes
  find_recipients
  make_set
  if ((${#FAILED[@]} < ${#CHOSEN[@]})); then copy_off_host; fi
  prune
  REPORT=no
  tell_prometheus
  ((${#FAILED[@]} == 0)) || die "not backed up: ${FAILED[*]} (the reasons stand above)."
  tell "${GREEN}done${PLAIN} ($SECONDS s): $(manifest_of "$STAMP")"
}

main "$@"
