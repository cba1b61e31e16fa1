# shellcheck shell=bash
# How the scripts of the backup reach Redis, MySQL, Prometheus and VictoriaMetrics: by URL, with TLS, and with no password on a command
# line. Sourced after backup.sh.

# decoded TEXT: %41 → A
decoded() {
  local text=${1//\\/\\\\}
  printf '%b' "${text//%/\\x}"
}

# parse_url URL SCHEMES: into URL_SCHEME, URL_USER, URL_PASSWORD, URL_HOST, URL_PORT, URL_PATH, URL_QUERY. SCHEMES are separated by |.
parse_url() {
  [[ $1 =~ ^($2)://(([^:@/]*)(:([^@/]*))?@)?(\[[0-9a-fA-F:]+\]|[^:/?@]+)(:([0-9]+))?(/([^?]*))?(\?(.*))?$ ]] ||
    die "a URL is not of the form ${2//|/ or }://[user[:password]@]host[:port]/… (it is not shown, for it may hold a password)."
  URL_SCHEME=${BASH_REMATCH[1]}
  URL_USER=$(decoded "${BASH_REMATCH[3]}")
  URL_PASSWORD=$(decoded "${BASH_REMATCH[5]}")
  URL_HOST=${BASH_REMATCH[6]//[\[\]]/}
  URL_PORT=${BASH_REMATCH[8]}
  URL_PATH=${BASH_REMATCH[10]}
  URL_QUERY=${BASH_REMATCH[12]}
}

# --- Redis --------------------------------------------------------------------------------------------------------

# What redis-cli shows any server: ours is told by the URL, and the scratch servers have none.
unset REDISCLI_AUTH
REDIS=() # redis-cli, and how it is to ask
REDIS_PASSWORD=''
REDIS_HOST=''
REDIS_PLACE=''

# find_redis: the server that the URL names; of several, with commas between them, the primary, for it alone has all and takes what is
# written. Says on stderr why there is none.
find_redis() {
  local -a hosts
  local answer said=''
  have redis-cli || die "redis-cli is missing; install it: apt-get install redis-tools"
  parse_url "${SETTING[REDIS_URL]}" 'redis|rediss'
  REDIS=(redis-cli -p "${URL_PORT:-6379}")
  if [[ -n $URL_USER ]]; then REDIS+=(--user "$URL_USER"); fi
  if [[ $URL_PATH =~ ^[0-9]+$ ]]; then REDIS+=(-n "$URL_PATH"); fi
  if [[ $URL_SCHEME == rediss ]]; then
    REDIS+=(--tls)
    if [[ -n ${SETTING[TLS_CA]} ]]; then REDIS+=(--cacert "${SETTING[TLS_CA]}"); fi
    if [[ -n ${SETTING[TLS_CERT]} ]]; then REDIS+=(--cert "${SETTING[TLS_CERT]}" --key "${SETTING[TLS_KEY]}"); fi
  fi
  REDIS_PASSWORD=$URL_PASSWORD
  IFS=, read -r -a hosts <<<"$URL_HOST"
  for REDIS_HOST in "${hosts[@]}"; do
    REDIS_PLACE="Redis at $REDIS_HOST:${URL_PORT:-6379}"
    answer=$(redis 10 PING 2>&1) || true
    if [[ $answer != PONG ]]; then said+="${said:+; }$REDIS_PLACE cannot be asked: ${answer:-no answer within 10 s}"
    elif ((${#hosts[@]} > 1)) && [[ $(redis_role) != master ]]; then said+="${said:+; }$REDIS_PLACE is a replica"
    else return 0; fi
  done
  printf '%s\n' "$said" >&2
  return 1
}

# redis SECONDS WORD…: redis-cli, for so long at most. The password goes by the environment, which is nobody else's to read.
redis() {
  local limit=$1
  shift
  if [[ -n $REDIS_PASSWORD ]]; then local -x REDISCLI_AUTH=$REDIS_PASSWORD; fi
  timeout --kill-after=5 "$limit" "${REDIS[@]}" -h "$REDIS_HOST" --no-auth-warning "$@"
}

# master or slave
redis_role() { redis 10 INFO replication | tr -d '\r' | sed -n 's/^role://p'; }

# --- MySQL --------------------------------------------------------------------------------------------------------

MYSQL_DATABASE=''
MYSQL_PLACE=''

# quoted TEXT: as a value in an option file.
quoted() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# program NAME…: the first of these that is here.
program() {
  local name
  for name in "$@"; do
    if have "$name"; then
      echo "$name"
      return
    fi
  done
  die "$1 is missing; install it: apt-get install mariadb-client"
}

find_mysql() {
  parse_url "${SETTING[MYSQL_URL]}" mysql
  MYSQL_DATABASE=${URL_PATH:-techsapo_audit}
  [[ $MYSQL_DATABASE =~ ^[A-Za-z0-9_]+$ ]] || die "the database in the URL of MySQL has an unusual name: '$MYSQL_DATABASE'."
  MYSQL_PLACE="MySQL at $URL_HOST:${URL_PORT:-3306}, database $MYSQL_DATABASE"
  MYSQL=$(program mariadb mysql)
  # shellcheck disable=SC2034 # for backup.sh
  MYSQLDUMP=$(program mysqldump mariadb-dump)
  # mysqldump knows no limit of this kind.
  { mysql_options "$MYSQL"; echo connect-timeout=10; } >"$WORK/mysql.cnf"
  mysql_options "$MYSQLDUMP" >"$WORK/mysqldump.cnf"
}

# is_of_mariadb PROGRAM: and not MySQL's own, which has other options.
is_of_mariadb() { [[ $("$1" --version) == *MariaDB* ]]; }

# mysql_options PROGRAM: what the URL says, as a file of options. With TLS the server's name is verified.
mysql_options() {
  printf '[client]\nprotocol=tcp\nhost=%s\nport=%s\n' "$(quoted "$URL_HOST")" "${URL_PORT:-3306}"
  if [[ -n $URL_USER ]]; then printf 'user=%s\n' "$(quoted "$URL_USER")"; fi
  if [[ -n $URL_PASSWORD ]]; then printf 'password=%s\n' "$(quoted "$URL_PASSWORD")"; fi
  [[ $URL_QUERY == *require_ssl=true* ]] || return 0
  if is_of_mariadb "$1"; then printf 'ssl\nssl-verify-server-cert\n'; else printf 'ssl-mode=VERIFY_IDENTITY\n'; fi
  if [[ -n ${SETTING[TLS_CA]} ]]; then printf 'ssl-ca=%s\n' "$(quoted "${SETTING[TLS_CA]}")"; fi
  if [[ -n ${SETTING[TLS_CERT]} ]]; then
    printf 'ssl-cert=%s\nssl-key=%s\n' "$(quoted "${SETTING[TLS_CERT]}")" "$(quoted "${SETTING[TLS_KEY]}")"
  fi
}

# mysql_query STATEMENT [DATABASE]: columns separated by tabs.
mysql_query() {
  timeout --kill-after=5 60 "$MYSQL" --defaults-file="$WORK/mysql.cnf" --batch --skip-column-names --execute="$1" ${2:+"$2"}
}

# mysql_reachable DATABASE: as redis_reachable; an empty name asks for none.
mysql_reachable() {
  local answer
  answer=$(mysql_query 'SELECT 1' "$1" 2>&1) && [[ $answer == 1 ]] && return
  printf '%s cannot be asked: %s\n' "$MYSQL_PLACE" "${answer:-no answer}" >&2
  return 1
}

# --- Prometheus and VictoriaMetrics -------------------------------------------------------------------------------

# ask URL [curl's options…]: the body; on failure what is wrong, on stderr.
ask() {
  local -a tls=()
  if [[ $1 == https:* ]]; then
    if [[ -n ${SETTING[TLS_CA]} ]]; then tls+=(--cacert "${SETTING[TLS_CA]}"); fi
    if [[ -n ${SETTING[TLS_CERT]} ]]; then tls+=(--cert "${SETTING[TLS_CERT]}" --key "${SETTING[TLS_KEY]}"); fi
  fi
  curl --silent --show-error --fail-with-body --noproxy '*' --connect-timeout 10 --max-time "${SETTING[TIME_LIMIT]}" \
    ${tls[@]+"${tls[@]}"} "${@:2}" "$1"
}

# number_of URL QUERY EPOCH: the value of a query with one element (0 if it has none), of either of them.
number_of() {
  local answer
  answer=$(ask "$1/api/v1/query" --data-urlencode "query=$2" --data-urlencode "time=$3") || return
  [[ $answer == *'"status":"success"'* ]] || { printf '%s\n' "$answer" >&2; return 1; }
  answer=$(sed -n 's/.*"value":\[[^,]*,"\([0-9.e+]*\)"\].*/\1/p' <<<"$answer")
  echo "${answer:-0}"
}

# How many series a Prometheus has samples of, shortly before EPOCH.
series_at() { number_of "$1" 'count({__name__!=""})' "$2"; }
# How many series a VictoriaMetrics has, of all its time until EPOCH.
series_until() { number_of "$1" 'count(last_over_time({__name__!=""}[10y]))' "$2"; }

# samples_in FOLDER: how many its blocks hold, by their own account.
samples_in() { cat "$1"/*/meta.json 2>/dev/null | sed -n 's/.*"numSamples": *\([0-9]*\).*/\1/p' | awk '{ sum += $1 } END { printf "%.0f\n", sum }'; }
