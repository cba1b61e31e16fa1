# shellcheck shell=bash
# Servers that exist only to look into a backup: each in a private folder, reached by a socket in it or on a free port of 127.0.0.1, and
# gone with the script. Sourced after backup.sh and stores.sh.

SCRATCH_WAIT=300 # seconds that a server may take until it answers

# scratch_start LOG COMMAND…
scratch_start() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null 9>&- &
  # In a file, for whoever ends them may be another process than the one that starts them.
  echo "$!" >>"$WORK/servers"
}

# scratch_await WHAT LOG CHECK…: until CHECK succeeds; on stderr why it never did.
scratch_await() {
  local what=$1 log=$2 began=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    if ! kill -0 "$(tail -n 1 "$WORK/servers")" 2>/dev/null || ((SECONDS - began >= SCRATCH_WAIT)); then
      printf 'the scratch %s did not start: %s\n' "$what" "$(tail -n 3 "$log" | paste -sd ' ' | cut -c 1-400)" >&2
      return 1
    fi
    sleep 0.2
  done
}

# Ends them all. Nothing in them is worth a farewell.
scratch_end() {
  local pid
  [[ -e $WORK/servers ]] || return 0
  while read -r pid; do
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done <"$WORK/servers"
  rm -f "$WORK/servers"
}

# A port that nobody listens on.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    if ! port_open "$port"; then
      echo "$port"
      return
    fi
  done
}

# scratch_redis FOLDER: with FOLDER/dump.rdb in it.
scratch_redis() {
  have redis-server || die "redis-server is missing; install it: apt-get install redis-server"
  scratch_start "$1/redis.log" redis-server --port 0 --unixsocket "$1/redis.sock" --dir "$1" --save '' --appendonly no --daemonize no
  scratch_await Redis "$1/redis.log" scratch_redis_loaded "$1" || { grep -i 'error\|wrong\|fatal' "$1/redis.log" | tail -n 2 >&2; return 1; }
}

scratch_redis_loaded() { [[ $(redis-cli -s "$1/redis.sock" PING) == PONG && $(scratch_redis_info "$1" loading) == 0 ]]; }

# scratch_redis_info FOLDER FIELD
scratch_redis_info() { redis-cli -s "$1/redis.sock" INFO persistence | tr -d '\r' | sed -n "s/^$2://p"; }

# scratch_mysql FOLDER: empty; scratch_sql asks it.
scratch_mysql() {
  local -a as=()
  if ((EUID == 0)); then as=(--user=root); fi
  mkdir "$1/tmp"
  if have mariadbd; then
    mariadb-install-db --no-defaults --auth-root-authentication-method=normal --skip-test-db --datadir="$1/data" "${as[@]}" >"$1/install.log" 2>&1 ||
      { tail -n 2 "$1/install.log" >&2; return 1; }
    as+=(--skip-log-bin)
    set -- "$1" mariadbd
  elif have mysqld; then
    mysqld --no-defaults --initialize-insecure --datadir="$1/data" "${as[@]}" >"$1/install.log" 2>&1 || { tail -n 2 "$1/install.log" >&2; return 1; }
    as+=(--disable-log-bin --mysqlx=OFF)
    set -- "$1" mysqld
  else
    die "neither mariadbd nor mysqld is here to restore the audit into; install one: apt-get install mariadb-server"
  fi
  # It lives for minutes: what a power loss would take is nothing to it.
  scratch_start "$1/mysql.log" "$2" --no-defaults --skip-networking --datadir="$1/data" --socket="$1/mysql.sock" --tmpdir="$1/tmp" \
    --pid-file="$1/mysql.pid" --innodb-flush-log-at-trx-commit=0 "${as[@]}"
  scratch_await MySQL "$1/mysql.log" scratch_sql "$1" 'SELECT 1'
}

# scratch_sql FOLDER STATEMENT|- [DATABASE]: - is stdin.
scratch_sql() {
  local -a options=(--no-defaults --user=root --socket="$1/mysql.sock" --batch --skip-column-names)
  if [[ $2 != - ]]; then options+=(--execute="$2"); fi
  bounded "$(program mariadb mysql)" "${options[@]}" ${3:+"$3"}
}

# scratch_prometheus FOLDER: reads the blocks of FOLDER/data. Its address in SCRATCH_URL.
scratch_prometheus() {
  have prometheus || die "prometheus is missing; install it: apt-get install prometheus"
  local address
  address=127.0.0.1:$(free_port)
  echo '{}' >"$1/prometheus.yml"
  # However old they are, and as they are.
  scratch_start "$1/prometheus.log" prometheus --config.file="$1/prometheus.yml" --storage.tsdb.path="$1/data" --web.listen-address="$address" \
    --storage.tsdb.retention.time=100y
  SCRATCH_URL=http://$address
  scratch_await Prometheus "$1/prometheus.log" fetch "$SCRATCH_URL/-/ready"
}

# scratch_long_term FOLDER: empty. Its address in SCRATCH_URL.
scratch_long_term() {
  have victoria-metrics || die "victoria-metrics is missing; install it: apt-get install victoria-metrics"
  local address
  address=127.0.0.1:$(free_port)
  scratch_start "$1/long-term.log" victoria-metrics -storageDataPath="$1/data" -httpListenAddr="$address" -retentionPeriod=100y -memory.allowedPercent=10
  SCRATCH_URL=http://$address
  scratch_await VictoriaMetrics "$1/long-term.log" fetch "$SCRATCH_URL/health"
}
