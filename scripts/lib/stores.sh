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
REDIS=() # redis-cli and where to
REDIS_PASSWORD=''
REDIS_PLACE=''

find_redis() {
  have redis-cli || die "redis-cli is missing; install it: apt-get install redis-tools"
  parse_url "${SETTING[REDIS_URL]}" 'redis|rediss'
  REDIS=(redis-cli -h "$URL_HOST" -p "${URL_PORT:-6379}")
  if [[ -n $URL_USER ]]; then REDIS+=(--user "$URL_USER"); fi
  if [[ $URL_PATH =~ ^[0-9]+$ ]]; then REDIS+=(-n "$URL_PATH"); fi
  if [[ $URL_SCHEME == rediss ]]; then
    REDIS+=(--tls)
    if [[ -n ${SETTING[TLS_CA]} ]]; then REDIS+=(--cacert "${SETTING[TLS_CA]}"); fi
    if [[ -n ${SETTING[TLS_CERT]} ]]; then REDIS+=(--cert "${SETTING[TLS_CERT]}" --key "${SETTING[TLS_KEY]}"); fi
  fi
  REDIS_PASSWORD=$URL_PASSWORD
  REDIS_PLACE="Redis at $URL_HOST:${URL_PORT:-6379}"
}

# redis SECONDS WORD…: redis-cli, for so long at most. The password goes by the environment, which is nobody else's to read.
redis() {
  local limit=$1
  shift
  if [[ -n $REDIS_PASSWORD ]]; then local -x REDISCLI_AUTH=$REDIS_PASSWORD; fi
  timeout --kill-after=5 "$limit" "${REDIS[@]}" --no-auth-warning "$@"
}

# Does it answer, and let us in? Says on stderr why not.
redis_reachable() {
  local answer
  answer=$(redis 10 PING 2>&1) && [[ $answer == PONG ]] && return
  printf '%s cannot be asked: %s\n' "$REDIS_PLACE" "${answer:-no answer within 10 s}" >&2
  return 1
}

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
  {
    printf '[client]\nprotocol=tcp\nconnect-timeout=10\nhost=%s\nport=%s\n' "$(quoted "$URL_HOST")" "${URL_PORT:-3306}"
    if [[ -n $URL_USER ]]; then printf 'user=%s\n' "$(quoted "$URL_USER")"; fi
    if [[ -n $URL_PASSWORD ]]; then printf 'password=%s\n' "$(quoted "$URL_PASSWORD")"; fi
    if [[ $URL_QUERY == *require_ssl=true* ]]; then
      # MariaDB's client and MySQL's own have different names for it.
      printf 'loose-ssl\nloose-ssl-verify-server-cert\nloose-ssl-mode=VERIFY_IDENTITY\n'
      if [[ -n ${SETTING[TLS_CA]} ]]; then printf 'ssl-ca=%s\n' "$(quoted "${SETTING[TLS_CA]}")"; fi
      if [[ -n ${SETTING[TLS_CERT]} ]]; then
        printf 'ssl-cert=%s\nssl-key=%s\n' "$(quoted "${SETTING[TLS_CERT]}")" "$(quoted "${SETTING[TLS_KEY]}")"
      fi
    fi
  } >"$WORK/mysql.cnf"
  # Of mysqldump alone: the other does not know it.
  sed '/^connect-timeout/d' "$WORK/mysql.cnf" >"$WORK/mysqldump.cnf"
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
