#!/usr/bin/env bash
# Puts a backup into the real servers. Shows first what it would do. `--help` tells how; docs/backup.md what to do in an emergency.
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
Puts what was backed up into the real servers, beside what they hold: rows, keys, files and blocks that are there stay as they are. So it can
be called while everything runs, and again. It shows a plan first, and asks.

  ./scripts/restore.sh                   of each kind the newest backup there is
  ./scripts/restore.sh --plan            only show the plan
  ./scripts/restore.sh --yes             do not ask (needed without a terminal)
  ./scripts/restore.sh --only KIND,…     of these kinds alone: redis audit config metrics long-term
  ./scripts/restore.sh --set STAMP       this set (./scripts/backup.sh --list tells which there are)
  ./scripts/restore.sh --fetch           get the set from the repository first: on an empty host, or when /backup is lost
  ./scripts/restore.sh --help

  --replace          what is there is replaced by what was backed up: the audit's tables are emptied, keys and files overwritten.
                     Refused where something newer would be lost,
  --force            unless this is given too
  --exporter-lost    the exporter's state is lost too, while apps with journals live on (another host): it is told, so that it takes up each app
                     where its journal begins and holds nothing for lost that was counted before. To be given before the exporter is started
  --config-to DIR    unpack the configuration below DIR instead of / (to look at it first)
  --settings FILE    instead of /etc/techsapo/backup.conf

On an empty host: install the servers and age, restic, redis-tools, mariadb-client; put the private key (and the repository's password)
in their places; write /etc/techsapo/backup.conf or set the environment; then ./scripts/restore.sh --fetch.

Of Redis only the app's own keys come back (techsapo:{app}:…: budget, limits, cached answers). The stream of events and what belongs to it do
not: old ones would count events twice, hold others for lost, or have a good state thrown away. The apps' journals bring what was not counted yet.
HELP
  settings_help
}

REPLACE=no
FORCE=no
CONFIG_TO=/
EXPORTER_LOST=no
LOCKED=no
SET=''
FAILED=()
declare -A FROM=() # kind → stamp

# The keys that may come back: the app's own. Whatever else is in Redis belongs to the exporter's count.
APP_KEYS='techsapo:{app}:*'

finish() {
  local status=$?
  trap - EXIT
  if [[ -n $WORK ]]; then
    scratch_end
    rm -rf "$WORK"
  fi
  # Without the lock it may be another run's, which is still fetching.
  if [[ $LOCKED == yes ]]; then rm -rf "${SETTING[DIR]:?}/.partial-fetch"; fi
  exit "$status"
}

# --- what is there: one line each, and a refusal where something newer would be lost --------------------------------

# refuse KIND WHY: something newer is there; only --force goes on.
refuse() {
  if [[ $REPLACE == yes && $FORCE == no ]]; then printf '  %s: %s\n' "$1" "$2" >>"$WORK/refused"; fi
}

target_redis() {
  local role keys
  find_redis || return
  role=$(redis_role)
  [[ $role == master ]] || { printf '%s is a replica (%s): name its master\n' "$REDIS_PLACE" "$role" >&2; return 1; }
  keys=$(redis 60 --scan --pattern "$APP_KEYS" | wc -l)
  echo "into $REDIS_PLACE, which has $keys keys of the app"
  if ((keys > 0)); then refuse redis "$REDIS_PLACE has $keys keys of the app, and keys do not say how old they are"; fi
}

target_audit() {
  local server rows newest
  find_mysql
  mysql_reachable '' || return
  server=$(mysql_query "SELECT CONCAT(@@version, IF(@@read_only, ', READ-ONLY', ''))")
  [[ $server != *READ-ONLY ]] || { printf '%s is read-only: is it a replica?\n' "$MYSQL_PLACE" >&2; return 1; }
  if ! rows=$(mysql_query 'SELECT COUNT(*) FROM analyses' "$MYSQL_DATABASE" 2>/dev/null); then
    echo "into $MYSQL_PLACE ($server), which has no audit"
    return
  fi
  newest=$(mysql_query 'SELECT COALESCE(TIMESTAMPDIFF(SECOND, "1970-01-01", MAX(ended_at)), 0) FROM analyses' "$MYSQL_DATABASE")
  echo "into $MYSQL_PLACE ($server), which has $rows analyses, the newest of $(date -u -d "@$newest" '+%F %T') UTC"
  if ((newest > $(epoch_of "${FROM[audit]}"))); then refuse audit "$MYSQL_PLACE has analyses that are newer than the backup"; fi
}

target_config() {
  local file there=0
  local -a newer=()
  touch -d "@$(epoch_of "${FROM[config]}")" "$WORK/then"
  unsealed "$(path_of config)" | tar --list --gzip --file=- | grep -v '/$' >"$WORK/files" || return
  while IFS= read -r file; do
    file=${CONFIG_TO%/}/$file
    if [[ -e $file ]]; then there=$((there + 1)); fi
    if [[ $file -nt $WORK/then ]]; then newer+=("$file"); fi
  done <"$WORK/files"
  echo "below ${CONFIG_TO%/}/, where $there of the files are"
  if ((${#newer[@]})); then refuse config "${#newer[@]} files are newer than the backup, such as ${newer[0]}"; fi
}

target_metrics() {
  local data=${SETTING[PROMETHEUS_DATA]}
  if [[ -d $data ]]; then
    echo "into $data, which has $(find "$data" -mindepth 2 -maxdepth 2 -name meta.json | wc -l) blocks"
  else
    echo "into $data, which will be made"
  fi
}

target_long_term() {
  local url=${SETTING[LONG_TERM_URL]}
  ask "$url/health" >/dev/null || return
  echo "into VictoriaMetrics at $url, which has $(series_until "$url" "$(date +%s)") series"
}

# --- each kind: FILE FOLDER ---------------------------------------------------------------------------------------

# A scratch server reads the file, and gives its keys away in Redis' own form; a key that is there already stays.
restore_redis() {
  local keys sent batch told database=0
  find_redis || return
  if [[ $URL_PATH =~ ^[0-9]+$ ]]; then database=$URL_PATH; fi
  unsealed "$1" >"$2/dump.rdb" && scratch_redis "$2" || return
  local -a scratch=(redis-cli -s "$2/redis.sock" -n "$database")
  # shellcheck disable=SC2016 # Redis' own language.
  keys=$("${scratch[@]}" EVAL 'for _, key in ipairs(redis.call("KEYS", ARGV[1])) do redis.call("RPUSH", "queue", key) end return redis.call("LLEN", "queue")' 0 "$APP_KEYS")
  # shellcheck disable=SC2016
  batch='
    local now, out = redis.call("TIME"), {}
    now = now[1] * 1000 + math.floor(now[2] / 1000)
    for _, key in ipairs(redis.call("LPOP", "queue", 500) or {}) do
      local value, left = redis.call("DUMP", key), redis.call("PTTL", key)
      if value then
        local words = {"RESTORE", key, "0", value}
        if left > 0 then words[3] = string.format("%d", now + left); words[5] = "ABSTTL" end
        if ARGV[1] == "yes" then words[#words + 1] = "REPLACE" end
        out[#out + 1] = "*" .. #words .. "\r\n"
        for _, word in ipairs(words) do out[#out + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n" end
      end
    end
    return table.concat(out)'
  for ((sent = 0; sent < keys; sent += 500)); do "${scratch[@]}" --raw EVAL "$batch" 0 "$REPLACE" || return; done |
    redis "${SETTING[TIME_LIMIT]}" --pipe >"$2/told" 2>&1 || true
  told=$(sed -n 's/^errors: \([0-9]*\), replies: \([0-9]*\).*/\1 \2/p' "$2/told")
  [[ -n $told ]] || { tail -n 3 "$2/told" >&2; return 1; }
  sent=$(grep -c 'BUSYKEY' "$2/told" || true)
  if ((${told% *} > sent)); then
    grep -v 'BUSYKEY\|^All data\|^Last reply\|^errors:' "$2/told" | tail -n 3 >&2
    return 1
  fi
  if [[ $EXPORTER_LOST == yes ]]; then tell_exporter >&2 || return; fi
  echo "$((${told#* } - sent)) keys, $sent were there already"
}

# An exporter without a state that finds acknowledgements knows that it is not the first, and takes each producer up where its journal
# begins. An empty Redis has none: so it is given one, of a producer that never was.
tell_exporter() {
  local stream key streams=${TECHSAPO_REDIS_STREAMS:-techsapo:events}
  for stream in ${streams//,/ }; do
    key=$stream:acks
    if [[ $stream == techsapo:events* ]]; then key=techsapo:acks${stream#techsapo:events}; fi
    if [[ $(redis 10 EXISTS "$key") == 1 ]]; then
      printf 'an exporter has begun to count already (%s): stop it, delete its state and that key, and call this again\n' "$key"
      return 1
    fi
    redis 10 HSET "$key" "restored-${FROM[redis]}" 0 >/dev/null || return
  done
}

restore_audit() {
  local table rows now status=0 create
  find_mysql
  create="CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`"
  mysql_query 'SELECT 1' "$MYSQL_DATABASE" >/dev/null 2>&1 || mysql_query "$create" || return
  # shellcheck disable=SC2016 # These are the dump's.
  unsealed "$1" | gunzip | LC_ALL=C awk -v replace="$REPLACE" -v total="$(counts_of "${FROM[audit]}" audit | awk '{ rows += $2 } END { print rows }')" '
    # The first line of a dump of MariaDB, which another client takes for a command.
    NR == 1 && /^\/\*M!999999/ { next }
    replace == "no" && /^DROP TABLE / { next }
    replace == "no" && /^CREATE TABLE `/ { sub(/^CREATE TABLE/, "CREATE TABLE IF NOT EXISTS") }
    /^INSERT INTO `/ {
      if (replace == "no") sub(/^INSERT/, "INSERT IGNORE")
      if (++rows % 20000 == 0) { printf "  audit: %d of %d rows\n", rows, total | "cat 1>&3"; fflush() }
    }
    { print }' |
    bounded "$MYSQL" --defaults-file="$WORK/mysql.cnf" --default-character-set=utf8mb4 "$MYSQL_DATABASE" || return
  while read -r table rows; do
    now=$(mysql_query "SELECT COUNT(*) FROM \`$table\`" "$MYSQL_DATABASE") || return
    if ((now < rows)); then
      printf '%s has %s rows; %s were backed up\n' "$table" "$now" "$rows" >&2
      status=1
    fi
    printf '%s of %s, ' "$now" "$table"
  done < <(counts_of "${FROM[audit]}" audit)
  echo 'in all'
  return "$status"
}

restore_config() {
  local -a options=(--skip-old-files)
  if [[ $REPLACE == yes ]]; then options=(--overwrite); fi
  mkdir -p "$CONFIG_TO"
  unsealed "$1" | tar --extract --gzip --file=- --same-permissions --directory="$CONFIG_TO" "${options[@]}" || return
  echo "$(count config files) files"
}

# Blocks of Prometheus lie beside each other, and each has a name of its own: those that are missing are put there. A Prometheus that runs
# finds them within minutes.
restore_metrics() {
  local data=${SETTING[PROMETHEUS_DATA]} block name added=0
  unsealed "$1" | tar --extract --gzip --file=- --directory="$2" || return
  (umask 022 && mkdir -p "$data") || return
  for block in "$2"/*/meta.json; do
    block=${block%/meta.json}
    name=${block##*/}
    if [[ -e $data/$name ]]; then continue; fi
    # By this name Prometheus knows that it is not whole yet.
    rm -rf "$data/$name.tmp-for-creation"
    cp -r "$block" "$data/$name.tmp-for-creation" && chmod -R u+rwX,go+rX "$data/$name.tmp-for-creation" &&
      chown -R --reference="$data" "$data/$name.tmp-for-creation" && mv "$data/$name.tmp-for-creation" "$data/$name" || return
    added=$((added + 1))
  done
  echo "$added blocks"
}

restore_long_term() {
  local url=${SETTING[LONG_TERM_URL]}
  unsealed "$1" | gunzip | ask "$url/api/v1/import/native" --request POST --upload-file - || return
  echo 'all series'
}

# --- all of it ----------------------------------------------------------------------------------------------------

path_of() { printf '%s/%s' "${SETTING[DIR]}" "$(file_of "$1" "${FROM[$1]}")"; }
count() { counts_of "${FROM[$1]}" "$1" | sed -n "s/^$2 //p"; }

# ago EPOCH: 3 h 20 min ago
ago() {
  local minutes=$((($(date +%s) - $1) / 60))
  if ((minutes >= 2880)); then echo "$((minutes / 1440)) days ago"
  elif ((minutes >= 60)); then echo "$((minutes / 60)) h $((minutes % 60)) min ago"
  else echo "$minutes min ago"; fi
}

# The newest set of the repository (or the one that is named), beside those that are here.
fetch_set() {
  local into=${SETTING[DIR]}/.partial-fetch
  have restic || die "restic is missing; install it: apt-get install restic"
  [[ -n ${SETTING[REPOSITORY]} ]] || die "no repository is set: TECHSAPO_BACKUP_REPOSITORY."
  say "Fetching from the repository"
  rm -rf "$into"
  (restic_do restore latest --tag "techsapo${SET:+,$SET}" --target "$into") 2>"$WORK/restic" ||
    die "nothing came from the repository: $(tail -n 2 "$WORK/restic" | paste -sd ' ')"
  find "$into" -name '*.age' -exec mv -t "${SETTING[DIR]}" {} +
  find "$into" -name 'manifest-*.txt' -exec mv -t "${SETTING[DIR]}" {} +
  rm -rf "$into"
}

# Which backup of each kind, whether its file is what was written, what it would go into.
plan() {
  local kind stamp line
  say "${BOLD}To be restored${PLAIN} from ${SETTING[DIR]}$([[ $REPLACE == yes ]] && echo ', REPLACING what is there' || echo ', beside what is there')"
  for kind in "${CHOSEN[@]}"; do
    stamp=$SET
    if [[ -z $stamp ]] && ! stamp=$(newest_with "$kind"); then
      warn "there is no backup of $kind in ${SETTING[DIR]}"
      FAILED+=("$kind")
      continue
    fi
    FROM[$kind]=$stamp
    if ! (whole "$stamp" "$kind" && "target_${kind//-/_}") >"$WORK/target" 2>"$WORK/error"; then
      warn "$kind: $(reasons "$WORK/error")"
      FAILED+=("$kind")
      unset "FROM[$kind]"
      continue
    fi
    line=$(counts_of "$stamp" "$kind" | sed 's/^series@[0-9]*/series/' | awk '{ print $2, $1 }' | paste -sd ',' | sed 's/,/, /g')
    note "$(printf '%-10s of %s UTC, %s, on %s: %s' "$kind" "$(time_of "$stamp")" "$(ago "$(epoch_of "$stamp")")" "$(manifest_get "$stamp" host)" "$line")"
    note "$(printf '%-10s %s' '' "$(<"$WORK/target")")"
  done
}

restore() {
  local kind began folder
  for kind in "${CHOSEN[@]}"; do
    [[ -n ${FROM[$kind]:-} ]] || continue
    began=$SECONDS
    folder=$WORK/$kind
    mkdir "$folder"
    if (
      trap scratch_end EXIT
      exec 9>&-
      "restore_${kind//-/_}" "$(path_of "$kind")" "$folder"
    ) 3>&1 >"$WORK/said" 2>"$WORK/error"; then
      note "$(printf '%-10s %srestored%s: %s (%d s)' "$kind" "$GREEN" "$PLAIN" "$(<"$WORK/said")" $((SECONDS - began)))"
    else
      warn "$kind was NOT restored: $(reasons "$WORK/error")"
      FAILED+=("$kind")
    fi
    rm -rf "$folder"
  done
}

what_next() {
  cat <<'NEXT'

What next:
  1. Start what does not run yet: Redis and MySQL first, then the exporter, the app, Prometheus. Leave journals and states that are still there as
     they are: they bring what was not counted or audited yet. Where none is left, counters begin at zero, which Prometheus understands.
     If the exporter's state is gone and apps live on elsewhere, --exporter-lost keeps it from holding for lost what was counted before.
  2. Ask it how it is: techsapo-exporter --check, with the flags and the environment that it serves with, and GET /api/v1/health of the app.
  3. What happened after the time of the backup and is in no journal is lost. Settings and API keys changed since: change them again.
  4. ./scripts/backup.sh
NEXT
}

main() {
  local only='' yes=no plan_only=no fetch=no answer
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --only) needs_value "$@" && only=$2 && shift ;;
      --set) needs_value "$@" && SET=$2 && shift ;;
      --settings) needs_value "$@" && SETTINGS_FILE=$2 && shift ;;
      --config-to) needs_value "$@" && CONFIG_TO=$(realpath -m "$2") && shift ;;
      --exporter-lost) EXPORTER_LOST=yes ;;
      --plan) plan_only=yes ;;
      --fetch) fetch=yes ;;
      --replace) REPLACE=yes ;;
      --force) FORCE=yes ;;
      -y | --yes) yes=yes ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  read_settings
  if [[ -n $only ]]; then choose_kinds "$only"; fi
  [[ $EXPORTER_LOST == no || " ${CHOSEN[*]} " == *" redis "* ]] || die "--exporter-lost is told by way of Redis: restore that too."
  trap finish EXIT
  make_work
  require_key
  may_write_backups
  # Nor does anybody back up what is half restored.
  one_at_a_time "${SETTING[DIR]}/.lock"
  LOCKED=yes
  if [[ $fetch == yes ]]; then fetch_set; fi
  [[ -z $SET || -r $(manifest_of "$SET") ]] || die "there is no backup $SET in ${SETTING[DIR]}. See: ./scripts/backup.sh --list"
  plan
  if [[ -e $WORK/refused ]]; then
    cat "$WORK/refused" >&2
    die "nothing was restored: something newer than the backup would be lost (above). Without --replace it stays; with --force it goes."
  fi
  ((${#FROM[@]})) || die "there is nothing that could be restored."
  if [[ $plan_only == yes ]]; then return; fi
  if [[ $yes == no ]]; then
    at_terminal || die "nothing was restored: without a terminal, --yes is needed."
    read -r -p "Go on? [y/N] " answer
    [[ $answer == [Yy]* ]] || die "nothing was restored."
  fi
  restore
  what_next
  ((${#FAILED[@]} == 0)) || die "not restored: ${FAILED[*]} (the reasons stand above)."
}

main "$@"
