# shellcheck shell=bash
# What backup.sh, verify-backup.sh and restore.sh share: their settings, the sets of files in the folder of backups, and encryption.
#
# A *set* is what one run made: KIND-STAMP.….age for each kind, and manifest-STAMP.txt, which says what must be in them. The manifest is
# put in its place last: files without one are no backup.
# Sourced after common.sh and textfile.sh.

KINDS=(redis audit config metrics long-term)
# Names of the files around the stamp.
declare -A ENDING=([redis]=rdb.age [audit]=sql.gz.age [config]=tar.gz.age [metrics]=tar.gz.age [long-term]=native.gz.age)
# What can be asked of a set beside the kinds: its copy on another host.
OFF_HOST=off-host

# --- settings -----------------------------------------------------------------------------------------------------

# name, default, what it is. Each is TECHSAPO_BACKUP_<name> in the environment or in the file of settings; the environment wins.
SETTINGS=(
  'DIR|/backup|folder of the backups'
  'KINDS|redis,audit,config,metrics,long-term|what is backed up'
  'KEY|/etc/techsapo/backup.key|private key of the backups (age-keygen): KEEP A COPY ELSEWHERE'
  'RECIPIENTS||file of public keys to encrypt for, instead of the one of KEY'
  'KEEP_HOURS|48|keep every backup for so many hours'
  'KEEP_DAYS|14|and the last of each of so many days'
  'KEEP_WEEKS|8|and the last of each of so many weeks'
  'REDIS_URL|redis://127.0.0.1:6379|Redis, or rediss://. Of several hosts (one,two:6379) the primary'
  'MYSQL_URL|mysql://127.0.0.1:3306/techsapo_audit|the database of the audit; with ?require_ssl=true by TLS'
  "CONFIG_PATHS|@config|configuration and secrets: files and folders, with : between them"
  'PROMETHEUS_URL|http://127.0.0.1:9090|Prometheus, with --web.enable-admin-api'
  'PROMETHEUS_DATA|/var/lib/prometheus/metrics2|its folder of data (--storage.tsdb.path)'
  'LONG_TERM_URL|http://127.0.0.1:8428|VictoriaMetrics'
  'TLS_CA||authority of the servers (default: ca.crt of TECHSAPO_TLS_DIR, if it is there)'
  'TLS_CERT||certificate to show to servers that want one (default: backup.crt there, if it can be read)'
  'TLS_KEY||and its key (default: backup.key there)'
  'REPOSITORY||restic repository for the copies off the host (sftp:, s3:, rest:, a folder …)'
  'REPOSITORY_PASSWORD_FILE|/etc/techsapo/restic-password|its password'
  'TIME_LIMIT|3600|seconds after which one step is given up'
  'RETRY_AFTER|10|seconds after which what failed is tried a second time; 0: it is not'
)
# Settings that may be given as NAME_FILE, a file that holds the value: they can bear a password.
SECRET_SETTINGS=' REDIS_URL MYSQL_URL '
declare -A SETTING=()
USUAL_SETTINGS_FILE=/etc/techsapo/backup.conf
SETTINGS_FILE=${TECHSAPO_BACKUP_SETTINGS:-} # empty: the usual one, if it is there

settings_help() {
  local row name default text
  printf '\nSettings, from the environment or lines NAME=value of %s (--settings FILE). Values with a\npassword are better given as NAME_FILE=a file that holds them (REDIS_URL, MYSQL_URL).\n' \
    "$USUAL_SETTINGS_FILE"
  for row in "${SETTINGS[@]}"; do
    IFS='|' read -r name default text <<<"$row"
    if [[ $default == @config ]]; then default='/etc/techsapo and what this repository has'; fi
    printf '  TECHSAPO_BACKUP_%s=%s\n      %s\n' "$name" "$default" "$text"
  done
  printf '  TECHSAPO_TEXTFILE_DIR=/var/lib/prometheus/node-exporter\n      where Node Exporter looks for figures (--collector.textfile.directory)\n'
  printf '  AWS_…, B2_…, AZURE_…, GOOGLE_…, RESTIC_REST_…\n      what restic needs for its repository\n'
}

# read_settings: into SETTING.
read_settings() {
  local row name default text variable
  # A file that somebody named must be there: without it another host, folder or repository would be backed up.
  if [[ -n $SETTINGS_FILE ]]; then
    [[ -e $SETTINGS_FILE ]] || die "there is no file of settings $SETTINGS_FILE."
    read_settings_file
  elif [[ -e $USUAL_SETTINGS_FILE ]]; then
    SETTINGS_FILE=$USUAL_SETTINGS_FILE
    read_settings_file
  fi
  for row in "${SETTINGS[@]}"; do
    IFS='|' read -r name default text <<<"$row"
    variable=TECHSAPO_BACKUP_$name
    SETTING[$name]=${!variable:-$default}
    if [[ $SECRET_SETTINGS == *" $name "* ]]; then
      variable+=_FILE
      if [[ -n ${!variable:-} ]]; then
        SETTING[$name]=$(<"${!variable}") 2>/dev/null || die "${!variable} ($variable) cannot be read (as $(id -un))."
      fi
    fi
    unset "TECHSAPO_BACKUP_$name" # Nothing that we start has a use for it.
  done
  if [[ ${SETTING[CONFIG_PATHS]} == @config ]]; then
    SETTING[CONFIG_PATHS]=/etc/techsapo:$ROOT/config:$ROOT/secrets:$ROOT/data:$ROOT/.env:$ROOT/prometheus:$ROOT/alertmanager:${TECHSAPO_TLS_DIR:-/etc/ssl/techsapo}
  fi
  local tls=${TECHSAPO_TLS_DIR:-/etc/ssl/techsapo}
  if [[ -z ${SETTING[TLS_CA]} && -r $tls/ca.crt ]]; then SETTING[TLS_CA]=$tls/ca.crt; fi
  if [[ -z ${SETTING[TLS_CERT]}${SETTING[TLS_KEY]} && -r $tls/backup.crt && -r $tls/backup.key ]]; then
    SETTING[TLS_CERT]=$tls/backup.crt
    SETTING[TLS_KEY]=$tls/backup.key
  fi
  for name in KEEP_HOURS KEEP_DAYS KEEP_WEEKS TIME_LIMIT RETRY_AFTER; do
    [[ ${SETTING[$name]} =~ ^[0-9]{1,6}$ ]] || die "TECHSAPO_BACKUP_$name must be a whole number; it is '${SETTING[$name]}'."
  done
  choose_kinds "${SETTING[KINDS]}"
  SETTING[DIR]=$(realpath -m "${SETTING[DIR]}")
}

# Lines NAME=value; what the environment has already stays.
read_settings_file() {
  local line name number=0 known
  known=" $(printf 'TECHSAPO_BACKUP_%s ' "${SETTINGS[@]%%|*}") TECHSAPO_BACKUP_REDIS_URL_FILE TECHSAPO_BACKUP_MYSQL_URL_FILE TECHSAPO_TLS_DIR TECHSAPO_TEXTFILE_DIR "
  [[ -r $SETTINGS_FILE ]] || die "$SETTINGS_FILE cannot be read (as $(id -un))."
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#|$) ]] && continue
    name=${line%%=*}
    if [[ $line != *=* || ($known != *" $name "* && ! $name =~ ^(AWS|B2|AZURE|GOOGLE|RESTIC_REST)_[A-Z0-9_]+$) ]]; then
      die "$SETTINGS_FILE, line $number: '$name' is not one of the settings. See: $0 --help"
    fi
    if [[ -z ${!name:-} ]]; then export "$name=${line#*=}"; fi
  done <"$SETTINGS_FILE"
  TEXTFILE_DIR=${TECHSAPO_TEXTFILE_DIR:-$TEXTFILE_DIR}
}

# Tells Prometheus what GAUGES say; of kinds that are backed up no more nothing is said.
tell_prometheus() {
  local kinds=${SETTING[KINDS]//,/|}
  if [[ -n ${SETTING[REPOSITORY]} ]]; then kinds+="|$OFF_HOST"; fi
  write_gauges backup "^kind=\"($kinds)\"" || true
}

# choose_kinds LIST: in CHOSEN, in the order of KINDS.
choose_kinds() {
  local kind
  CHOSEN=()
  for kind in ${1//,/ }; do
    [[ -n ${ENDING[$kind]:-} ]] || die "'$kind' is none of the kinds: ${KINDS[*]}."
  done
  for kind in "${KINDS[@]}"; do
    if [[ ,$1, == *,$kind,* ]]; then CHOSEN+=("$kind"); fi
  done
  ((${#CHOSEN[@]})) || die "no kind is chosen; there are: ${KINDS[*]}."
}

# --- a place to work ----------------------------------------------------------------------------------------------

WORK=''

# A private folder that is gone when the script ends, however it ends. What is secret stands only here.
make_work() {
  umask 077
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/techsapo-backup.XXXXXX") || die "no temporary folder can be made in ${TMPDIR:-/tmp}."
}

# one_at_a_time FILE: this script holds descriptor 9 until it ends.
one_at_a_time() {
  mkdir -p "$(dirname "$1")" 2>/dev/null || true
  { exec 9>>"$1"; } 2>/dev/null || die "cannot write $1 (as $(id -un))."
  flock --nonblock 9 || die "another run is at work (pid $(cat "$1")). Nothing was done."
  echo $$ >"$1"
}

# The folder of backups is there, is private, and can be written.
may_write_backups() {
  mkdir -p "${SETTING[DIR]}" 2>/dev/null || die "the folder ${SETTING[DIR]} cannot be made (as $(id -un))."
  { echo >"${SETTING[DIR]}/.may-write"; } 2>/dev/null || {
    rm -f "${SETTING[DIR]}/.may-write"
    die "cannot write in ${SETTING[DIR]} (as $(id -un)): is its disk full, or is it somebody else's?"
  }
  rm -f "${SETTING[DIR]}/.may-write"
}

# bounded COMMAND…: for as long as a step may take.
bounded() { timeout --kill-after=10 "${SETTING[TIME_LIMIT]}" "$@"; }

# tapped NAME COMMAND…: passes stdin on, and gives COMMAND a copy, whose words go to $WORK/NAME. Fails if either fails.
tapped() {
  local name=$1 reader status=0
  shift
  mkfifo "$WORK/$name.pipe"
  # A named pipe can be opened once: who opens its standard input again, by name, must find an ordinary one.
  # shellcheck disable=SC2002 # Hence this.
  cat "$WORK/$name.pipe" | "$@" >"$WORK/$name" 2>&1 &
  reader=$!
  tee "$WORK/$name.pipe" || status=$?
  wait "$reader" || status=$?
  return "$status"
}

# --- encryption ---------------------------------------------------------------------------------------------------

# Who can open what is made now: in $WORK/recipients.
find_recipients() {
  local file=${SETTING[RECIPIENTS]:-${SETTING[KEY]}}
  have age || die "age, which encrypts the backups, is missing; install it: apt-get install age"
  [[ -r $file ]] || die "$file cannot be read (as $(id -un)). It is the key that backups are encrypted with; to make one:
  age-keygen -o $file     and keep a copy of it where this host's end does not reach: without it no backup can be opened."
  if [[ -n ${SETTING[RECIPIENTS]} ]]; then
    cp "$file" "$WORK/recipients"
  else
    age-keygen -y "$file" >"$WORK/recipients" 2>/dev/null || die "$file holds no key of age (age-keygen makes one)."
  fi
}

sealed() { age --encrypt --recipients-file "$WORK/recipients" --output "$1"; }

# unsealed FILE: what was encrypted, on stdout.
unsealed() {
  age --decrypt --identity "${SETTING[KEY]}" "$1" 2>"$WORK/age.error" && return
  if grep -q 'no identity matched' "$WORK/age.error"; then
    printf 'the key %s does not open it: it was made for another one\n' "${SETTING[KEY]}" >&2
  else
    printf 'cannot be decrypted: %s\n' "$(head -n 1 "$WORK/age.error")" >&2
  fi
  return 1
}

require_key() {
  have age || die "age, which opens the backups, is missing; install it: apt-get install age"
  [[ -r ${SETTING[KEY]} ]] || die "${SETTING[KEY]} cannot be read (as $(id -un)): without the key no backup can be opened."
}

# reasons FILE: what a step said last before it failed, in one line, without the word that `die` begins with. An archive that cannot be
# opened is the reason for all that its readers say after it.
reasons() {
  grep -m 1 -e 'does not open it' -e '^cannot be decrypted' "$1" && return
  sed -E 's/^(\x1b\[[0-9;]*m)*error:[^ ]* //; /^$/d' "$1" | tail -n 3 | paste -sd ' ' | cut -c 1-600
}

# --- sets ---------------------------------------------------------------------------------------------------------

file_of() { printf '%s-%s.%s' "$1" "$2" "${ENDING[$1]}"; }
manifest_of() { printf '%s/manifest-%s.txt' "${SETTING[DIR]}" "$1"; }

# The stamps of all sets, the newest first.
stamps() { find "${SETTING[DIR]}" -maxdepth 1 -name 'manifest-????????-??????.txt' -printf '%f\n' | sed 's/^manifest-//; s/\.txt$//' | sort -r; }

# When a set was made: 2026-11-22 14:00:00, UTC.
time_of() { sed -E 's/^(....)(..)(..)-(..)(..)(..)$/\1-\2-\3 \4:\5:\6/' <<<"$1"; }
epoch_of() { date -u -d "$(time_of "$1")" +%s; }

# manifest_get STAMP WORD [KIND]: the fields behind that line's beginning.
manifest_get() { sed -n "s/^$2${3:+ $3} //p" "$(manifest_of "$1")"; }

# counts_of STAMP KIND: "what number" lines.
counts_of() { manifest_get "$1" count "$2"; }

# The kinds that a set holds.
kinds_in() { sed -n 's/^file \([^ ]*\) .*/\1/p' "$(manifest_of "$1")"; }

# newest_with KIND: the stamp of the newest set that has it.
newest_with() {
  local stamp
  for stamp in $(stamps); do
    if [[ " $(kinds_in "$stamp" | paste -sd ' ') " == *" $1 "* ]]; then
      echo "$stamp"
      return
    fi
  done
  return 1
}

# whole STAMP KIND: the file is there, and is what was written. Says on stderr what is wrong.
whole() {
  local name size digest file
  read -r name size digest < <(manifest_get "$1" file "$2")
  file=${SETTING[DIR]}/$name
  [[ -n $name ]] || { printf 'the backup of %s does not hold it\n' "$1" >&2; return 1; }
  [[ -r $file ]] || { printf '%s is missing or cannot be read\n' "$file" >&2; return 1; }
  [[ $(stat -c %s "$file") == "$size" ]] || { printf '%s has %s bytes; %s were written\n' "$file" "$(stat -c %s "$file")" "$size" >&2; return 1; }
  [[ $(sha256sum <"$file") == "$digest "* ]] || { printf '%s is damaged: its checksum is not the one of the manifest\n' "$file" >&2; return 1; }
}

# --- the repository off the host ----------------------------------------------------------------------------------

restic_do() {
  local -a options=(--quiet)
  [[ -r ${SETTING[REPOSITORY_PASSWORD_FILE]} ]] || die "${SETTING[REPOSITORY_PASSWORD_FILE]} cannot be read (as $(id -un))."
  if [[ -z ${HOME:-} ]]; then options+=(--no-cache); fi
  RESTIC_REPOSITORY=${SETTING[REPOSITORY]} bounded restic --password-file "${SETTING[REPOSITORY_PASSWORD_FILE]}" "${options[@]}" "$@" 9>&-
}

# readable_size BYTES
readable_size() { numfmt --to=iec --suffix=B "$1"; }
