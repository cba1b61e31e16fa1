#!/usr/bin/env bash
# Starts TechSapo with its monitoring on this machine, proves that it works, and says where everything is.
# `--help` tells how to use it. The parts are in lib/: installing packages, running processes, and a container engine instead.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"
# shellcheck source-path=SCRIPTDIR source=lib/render.sh
source "$ROOT/scripts/lib/render.sh"
# shellcheck source-path=SCRIPTDIR source=lib/services.sh
source "$ROOT/scripts/lib/services.sh"
# shellcheck source-path=SCRIPTDIR source=lib/engine.sh
source "$ROOT/scripts/lib/engine.sh"

usage() {
  cat <<'HELP'
Starts TechSapo with its monitoring on this machine: Redis, the app, the exporter, Node Exporter, Alertmanager,
VictoriaMetrics (the long-term store) and Prometheus, all on 127.0.0.1. Then it sends one sample analysis and waits until Prometheus has counted it.
Where a container engine answers, it does so with containers (docker-compose.yml, which also has MySQL and Grafana), else with ordinary
processes; it says which.

  ./scripts/start-monitoring.sh            install what is missing, build, start, check (safe to call again)
  ./scripts/start-monitoring.sh --status   tell what runs; ends with 0 if all of it does, 3 if nothing, 1 otherwise
  ./scripts/start-monitoring.sh --stop     stop what it started, and nothing else
  ./scripts/start-monitoring.sh --help     this text

  --engine docker|none    with containers, or with ordinary processes, whatever there is
  -y, --yes               do not ask before installing packages (without a terminal it never asks)

Settings, from the environment:
  TECHSAPO_PORT_APP=4000            TECHSAPO_PORT_PROMETHEUS=9090     TECHSAPO_PORT_REDIS=6379
  TECHSAPO_PORT_EXPORTER=10040      TECHSAPO_PORT_ALERTMANAGER=9093   TECHSAPO_PORT_NODE_EXPORTER=9100
  TECHSAPO_PORT_LONG_TERM_STORE=8428                                  TECHSAPO_PORT_GRAFANA=3000 (containers)
  TECHSAPO_RUN_DIR=run              logs, process records and data
  TECHSAPO_ALERT_SECRETS=secrets/alertmanager   whom alerts notify: see ./scripts/alertmanager-config.sh --help
  TECHSAPO_PROFILE=release          how to build: release or dev
  TECHSAPO_BIN_DIR=                 a folder with ready binaries (techsapo, techsapo-exporter): nothing is compiled

A Redis that answers on its port is used as it is, and not stopped by --stop. To begin anew: --stop, then delete run/ (containers: docker-compose down -v).
HELP
}

START_ORDER=(redis app exporter node-exporter alertmanager long-term-store prometheus)
# The app first, so that it can finish its requests and hand over its events; Redis last, since both need it.
STOP_ORDER=(app exporter prometheus long-term-store alertmanager node-exporter redis)

declare -A PORT=()
RUN_DIR=$(realpath -m "${TECHSAPO_RUN_DIR:-$ROOT/run}")
PROFILE=${TECHSAPO_PROFILE:-release}
ALERT_SECRETS=$(realpath -m "${TECHSAPO_ALERT_SECRETS:-$ROOT/secrets/alertmanager}")
ASSUME_YES=no
REUSE_REDIS=no
ENGINE='' # docker or none; empty: whichever fits
API_KEY='' # for the sample analysis, where the app wants one
FINISHED=no
BUILD_PID='' # cargo, while it builds: the leader of a process group of its own

# --- what each service is -----------------------------------------------------------------------------------------

port_variable() {
  local name=${1^^}
  printf 'TECHSAPO_PORT_%s' "${name//-/_}"
}

url_of() {
  case $1 in
    redis) printf 'redis://127.0.0.1:%s' "${PORT[redis]}" ;;
    *) printf 'http://127.0.0.1:%s' "${PORT[$1]}" ;;
  esac
}

# Does NAME answer at URL, ready to work?
ready() {
  case $1 in
    redis) redis_answers "${2##*:}" ;;
    app | long-term-store) fetch "$2/health" ;;
    node-exporter) fetch "$2/metrics" ;;
    *) fetch "$2/-/ready" ;;
  esac
}

# How long each may take to become ready, in seconds. Redis and Prometheus first read back what they had stored.
patience() {
  case $1 in
    redis | prometheus | exporter | long-term-store) echo 120 ;;
    *) echo 45 ;;
  esac
}

# The command line of NAME, in COMMAND.
command_of() {
  local data=$RUN_DIR/data listen=127.0.0.1:${PORT[$1]}
  # Our own settings are not the programs'. And wherever we are called, theirs mean the project's files: config/, data/.
  local -a clean=(env --chdir="$ROOT" -u TECHSAPO_RUN_DIR -u TECHSAPO_PROFILE -u TECHSAPO_BIN_DIR -u TECHSAPO_ALERT_SECRETS)
  local name
  for name in "${START_ORDER[@]}"; do clean+=(-u "$(port_variable "$name")"); done
  case $1 in
    redis)
      COMMAND=(redis-server --bind 127.0.0.1 --port "${PORT[redis]}" --dir "$data/redis" --daemonize no
        --appendonly yes --appendfsync everysec)
      ;;
    app)
      COMMAND=("${clean[@]}" TECHSAPO_LISTEN="$listen" TECHSAPO_REDIS_URL="$(url_of redis)"
        TECHSAPO_JOURNAL_DIR="$data/journal" TECHSAPO_EXPORTER_URL="$(url_of exporter)" TECHSAPO_ALERTMANAGER_URL="$(url_of alertmanager)"
        "$BIN_DIR/techsapo" --config "$ROOT/config/techsapo.toml")
      ;;
    exporter)
      COMMAND=("${clean[@]}" "$BIN_DIR/techsapo-exporter" --web.listen-address "$listen" --redis.url "$(url_of redis)"
        --checkpoint.dir "$data/exporter" --app.url "$(url_of app)")
      ;;
    node-exporter)
      COMMAND=(prometheus-node-exporter --web.listen-address="$listen")
      ;;
    alertmanager)
      COMMAND=(prometheus-alertmanager --config.file="$RUN_DIR/alertmanager.yml"
        --storage.path="$data/alertmanager" --web.listen-address="$listen" --cluster.listen-address=)
      ;;
    long-term-store)
      # Of two samples within one scrape interval, as two like Prometheus servers send them, one is kept.
      COMMAND=(victoria-metrics -storageDataPath="$data/long-term-store" -retentionPeriod=90d
        -dedup.minScrapeInterval=15s -httpListenAddr="$listen")
      ;;
    prometheus)
      COMMAND=(prometheus --config.file="$RUN_DIR/prometheus.yml" --storage.tsdb.path="$data/prometheus"
        --storage.tsdb.retention.time=15d --web.listen-address="$listen")
      ;;
  esac
}

# prometheus/prometheus.yml with the ports of this run, and with the rules where they are.
write_prometheus_config() {
  local name
  local -a places=()
  for name in "${START_ORDER[@]}"; do places+=("$name=127.0.0.1:${PORT[$name]}"); done
  render_prometheus "$ROOT/prometheus/rules" "${places[@]}" >"$RUN_DIR/prometheus.yml"
  promtool check config "$RUN_DIR/prometheus.yml" >"$RUN_DIR/promtool.log" 2>&1 || {
    sed 's/^/    /' "$RUN_DIR/promtool.log" >&2
    die "prometheus/prometheus.yml is not right; what promtool says stands above."
  }
}

# alertmanager/alertmanager.yml with the receivers for which there are secrets.
write_alertmanager_config() {
  "$ROOT/scripts/alertmanager-config.sh" "$ALERT_SECRETS" "$RUN_DIR/alertmanager.yml" || die "Alertmanager was not started."
  amtool check-config "$RUN_DIR/alertmanager.yml" >"$RUN_DIR/amtool.log" 2>&1 || {
    sed 's/^/    /' "$RUN_DIR/amtool.log" >&2
    die "Alertmanager's configuration is not right; what amtool says stands above. Secrets are in $ALERT_SECRETS."
  }
}

# --- before anything is changed -----------------------------------------------------------------------------------

any_running() {
  local name
  for name in "${START_ORDER[@]}"; do service_running "$name" && return 0; done
  return 1
}

# Ports come from the environment; but while something of ours runs, its ports hold for the rest too.
choose_ports() {
  local name variable wanted held
  for name in "${START_ORDER[@]}"; do
    variable=$(port_variable "$name")
    PORT[$name]=${!variable:-${DEFAULT_PORT[$name]}}
    if ! [[ ${PORT[$name]} =~ ^[1-9][0-9]{0,4}$ ]] || ((PORT[$name] > 65535)); then
      die "$variable is '${PORT[$name]}'; a port is a number from 1 to 65535."
    fi
  done
  if any_running && [[ -r $RUN_DIR/ports ]]; then
    while IFS='=' read -r name held; do
      [[ -n ${DEFAULT_PORT[$name]:-} ]] || continue
      variable=$(port_variable "$name")
      wanted=${!variable:-$held}
      [[ $wanted == "$held" ]] || warn "$variable=$wanted waits until the next start: what runs now uses $held. (--stop first)"
      PORT[$name]=$held
    done <"$RUN_DIR/ports"
  fi
  for name in "${START_ORDER[@]}"; do
    for held in "${START_ORDER[@]}"; do
      [[ $name == "$held" || ${PORT[$name]} != "${PORT[$held]}" ]] ||
        die "$(port_variable "$name") and $(port_variable "$held") are both ${PORT[$name]}; each needs a port of its own."
    done
  done
}

check_folders() {
  local folder
  for folder in "$RUN_DIR/data"/{redis,journal,exporter,prometheus,alertmanager,long-term-store}; do may_write "$folder"; done
}

# Every port that we are about to use is free; a Redis that answers is welcome.
check_ports() {
  local name variable
  REUSE_REDIS=no
  for name in "${START_ORDER[@]}"; do
    service_running "$name" && continue
    port_open "${PORT[$name]}" || continue
    if [[ $name == redis ]] && redis_answers "${PORT[redis]}"; then
      REUSE_REDIS=yes
      continue
    fi
    variable=$(port_variable "$name")
    die "port ${PORT[$name]}, meant for $name, is taken by $(port_holder "${PORT[$name]}").
  Stop that program, or choose another port: $variable=$((PORT[$name] < 65000 ? PORT[$name] + 500 : PORT[$name] - 500)) $0"
  done
}

# --- start --------------------------------------------------------------------------------------------------------

step() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }

install() {
  local -a needed=(curl prometheus promtool prometheus-alertmanager amtool prometheus-node-exporter
    victoria-metrics)
  [[ $REUSE_REDIS == yes ]] || needed+=(redis-server)
  [[ -n ${TECHSAPO_BIN_DIR:-} ]] || needed+=(cc make)
  install_missing "$RUN_DIR/install.log" "$ASSUME_YES" "${needed[@]}"
}

build() {
  local program
  if [[ -n ${TECHSAPO_BIN_DIR:-} ]]; then
    note "using the binaries in $BIN_DIR"
  elif service_running app && service_running exporter; then
    note "not needed: app and exporter run"
  else
    note "cargo build, profile $PROFILE (the first time it takes some minutes)"
    (cd "$ROOT" && exec setsid -- cargo build --locked --profile "$PROFILE" -p techsapo -p techsapo-exporter --bins) </dev/null 9>&- &
    BUILD_PID=$!
    wait "$BUILD_PID" || die "the build failed; what cargo says stands above. Nothing was started."
    BUILD_PID=''
  fi
  for program in techsapo techsapo-exporter; do
    [[ -x $BIN_DIR/$program ]] || die "there is no program $BIN_DIR/$program."
  done
  service_running app || check_app_settings
}

check_app_settings() {
  command_of app
  "${COMMAND[@]}" --check >"$RUN_DIR/check.log" 2>&1 9>&- </dev/null || {
    sed 's/^/    /' "$RUN_DIR/check.log" >&2
    die "the app's settings are not right; what is wrong with them stands above (config/techsapo.toml, and TECHSAPO_… in the environment)."
  }
}

start_all() {
  local name url
  for name in "${START_ORDER[@]}"; do
    printf '%s=%s\n' "$name" "${PORT[$name]}"
  done >"$RUN_DIR/ports"
  for name in "${START_ORDER[@]}"; do
    url=$(url_of "$name")
    if [[ $name == redis && $REUSE_REDIS == yes ]]; then
      record_reused redis "$url"
      printf '  %-16s %salready there%s at %s: used as it is\n' redis "$GREEN" "$PLAIN" "$url"
      continue
    fi
    if service_running "$name"; then
      printf '  %-16s %salready running%s (pid %s)' "$name" "$GREEN" "$PLAIN" "$(record_get "$name" pid)"
      if service_outdated "$name"; then printf ', from an older file: --stop and start again to renew it'; fi
      printf '\n'
      continue
    fi
    if [[ $name == prometheus ]]; then write_prometheus_config; fi
    if [[ $name == alertmanager ]]; then write_alertmanager_config; fi
    command_of "$name"
    service_start "$name" "$url" "${COMMAND[@]}"
    service_await "$name" "$(patience "$name")" ready "$name" "$url"
  done
}

# --- the proof ----------------------------------------------------------------------------------------------------

COUNTER=techsapo_wallbounce_requests_total

# How many analyses the exporter has counted.
counted_by_exporter() {
  fetch "$(url_of exporter)/metrics" |
    awk -v name="$COUNTER" 'index($1, name "{") == 1 || $1 == name { sum += $NF } END { printf "%.0f", sum }'
}

# counted_by_prometheus SINCE: how many analyses Prometheus knows of, by what it scraped since then (unix seconds): after a
# restart it still answers for five minutes with what it had scraped before. Nothing if it scraped nothing yet.
counted_by_prometheus() {
  fetch "$(url_of prometheus)/api/v1/query" --get \
    --data-urlencode "query=sum($COUNTER and timestamp($COUNTER) >= $1)" |
    sed -n 's/.*"value":\[[^,]*,"\([0-9]*\).*/\1/p'
}

# The key for the sample analysis, where the app wants one: made once. In API_KEY.
sample_key_of_processes() {
  local file=$RUN_DIR/start-monitoring.key
  command_of app
  "${COMMAND[@]}" keys create --name start-monitoring --tier basic --to "$file" >"$RUN_DIR/key.log" 2>&1 9>&- </dev/null ||
    unproven "no API key could be made: $(tail -n 1 "$RUN_DIR/key.log")."
  API_KEY=$(<"$file")
}

# unproven WHY: what runs is well, and goes on; that it measures is not shown.
unproven() {
  STARTED=()
  die "$1 What runs goes on running: $0 --status, $0 --stop."
}

# sample_analysis [TRIES]
sample_analysis() {
  local answer status
  local -a headers=(--header 'content-type: application/json')
  # From standard input: a command line is for everybody to see.
  if [[ -n $API_KEY ]]; then headers+=(--config -); fi
  answer=$(curl --silent --show-error --noproxy '*' --max-time 60 --write-out '\n%{http_code}' "${headers[@]}" \
    --data '{"prompt":"How do I roll out a change safely?","task_type":"basic"}' \
    "$(url_of app)/api/v1/generate" 2>&1 <<<"header = \"authorization: Bearer $API_KEY\"") || unproven "the sample analysis got no answer: $answer"
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  if [[ $status == 401 && $ENGINE == none && ${1:-8} -gt 0 ]]; then
    if [[ -z $API_KEY ]]; then
      sample_key_of_processes
      note "the app wants a key, and is asked with the one named start-monitoring"
    fi
    # It takes in a new key within a moment.
    sleep 1
    sample_analysis $((${1:-8} - 1))
    return
  fi
  [[ $status == 200 ]] || unproven "the sample analysis was answered with $status: $answer"
  note "answered; confidence $(sed -n 's/^[^[]*"confidence": *\([0-9.]*\).*/\1/p' <<<"$answer" | head -n 1)"
}

# await_prometheus COUNT SINCE
await_prometheus() {
  local wanted=$1 since=$2 limit=120 began=$SECONDS dot=$SECONDS found=''
  printf '  waiting for sum(%s) to reach %s (one scrape every 15 s) ' "$COUNTER" "$wanted"
  while :; do
    found=$(counted_by_prometheus "$since") || found=''
    if [[ -n $found ]] && ((found >= wanted)); then break; fi
    if ((SECONDS - began >= limit)); then
      printf 'gave up\n'
      note "exporter says: $(counted_by_exporter || echo nothing); Prometheus says: ${found:-nothing}" >&2
      note "what Prometheus says of its targets:" >&2
      fetch "$(url_of prometheus)/api/v1/targets?state=active" |
        grep -o '"scrapeUrl":"[^"]*"\|"lastError":"[^"]*"\|"health":"[^"]*"' | paste -d ' ' - - - | sed 's/^/    /' >&2 || true
      unproven "the sample analysis did not reach Prometheus within $limit s. docs/troubleshooting.md says where to look."
    fi
    if ((SECONDS - dot >= 2)); then
      printf '.'
      dot=$SECONDS
    fi
    sleep 0.5
  done
  printf ' %s%s%s (%d s)\n' "$GREEN" "$found" "$PLAIN" $((SECONDS - began))
}

# --- the table ----------------------------------------------------------------------------------------------------

# Where a person looks.
page_of() {
  case $1 in
    exporter | node-exporter) printf '%s' "${2:+$2/metrics}" ;;
    *) printf '%s' "$2" ;;
  esac
}

# state_of NAME: running, reused, silent, died or stopped.
state_of() {
  local url
  url=$(record_get "$1" url) || { echo stopped; return; }
  if [[ $(record_get "$1" reused) == yes ]]; then
    if ready "$1" "$url" >/dev/null 2>&1; then echo reused; else echo silent; fi
  elif ! service_running "$1"; then echo died
  elif ready "$1" "$url" >/dev/null 2>&1; then echo running
  else echo silent; fi
}

# Prints the table, and leaves the number of services that work in WORKING.
print_table() {
  local name state url pid where log
  WORKING=0
  printf '  %-16s %-10s %-34s %-8s %s\n' what state where pid log
  for name in "${START_ORDER[@]}"; do
    state=$(state_of "$name")
    url=$(record_get "$name" url) || url=''
    pid=$(record_get "$name" pid) || pid=''
    case $state in
      running) ((WORKING += 1)) ;;
      reused) ((WORKING += 1)) && pid='' ;;
      died) pid='' ;;
    esac
    log=-
    if [[ -e $RUN_DIR/$name.log && $state != reused ]]; then log=$(shown "$RUN_DIR/$name.log"); fi
    where=$(page_of "$name" "$url")
    printf '  %-16s %-10s %-34s %-8s %s\n' "$name" "$state" "${where:--}" "${pid:--}" "$log"
  done
}

# A path as one would type it from the repository.
shown() { printf '%s' "${1#"$ROOT/"}"; }

# --- the three things it can do -----------------------------------------------------------------------------------

# Whatever ends the script ends here: what this call started and could not finish is stopped again.
finish() {
  local status=$? name pid
  if ((status == 0)) && [[ $FINISHED == no ]]; then status=1; fi # a signal
  trap - EXIT
  trap '' INT TERM HUP
  set +e
  if [[ -n $BUILD_PID ]]; then kill -TERM -- "-$BUILD_PID" 2>/dev/null; fi
  end_install
  if ((status != 0 && ${#STARTED[@]} > 0)); then
    printf '\nStopping what this call had started:\n' >&2
    for name in "${STOP_ORDER[@]}"; do
      if [[ " ${STARTED[*]} " == *" $name "* ]]; then service_stop "$name" 30 >&2; fi
    done
    for pid in $(jobs -p); do kill -TERM "$pid" 2>/dev/null; done
    any_running || rm -f "$RUN_DIR/ports" "$RUN_DIR/redis.state"
  fi
  exit "$status"
}

start() {
  [[ $(uname -s) == Linux ]] || die "this script is for Linux; it is tested on Debian."
  [[ $PROFILE == release || $PROFILE == dev ]] || die "TECHSAPO_PROFILE is '$PROFILE'; it can be release or dev."
  choose_engine
  take_lock
  # Only EXIT: bash runs it also when Ctrl-C or another signal ends us, whereas a trap on INT may strike
  # inside a $(…), where bash 5.2 fails to read the trap's own text.
  trap finish EXIT
  choose_ports
  if [[ $ENGINE == docker ]]; then start_in_engine; else start_processes; fi
}

# Containers or processes: what was asked for; else what runs already; else containers, where an engine answers.
choose_engine() {
  local held
  held=$(cat "$RUN_DIR/engine" 2>/dev/null) || held=none
  if [[ -z $ENGINE ]] && any_running; then ENGINE=none; fi
  if [[ -z $ENGINE && $held == docker ]]; then ENGINE=docker; fi
  case $ENGINE in
    docker) engine_reachable || die "$WHY_NO_ENGINE. Without an engine: $0 --engine none" ;;
    '') if engine_reachable; then ENGINE=docker; else ENGINE=none; fi ;;
  esac
  if [[ $ENGINE == docker ]] && any_running; then die "it runs as ordinary processes already. First: $0 --engine none --stop"; fi
  if [[ $ENGINE == none && $held == docker ]] && engine_reachable && [[ -n $(containers) ]]; then die "it runs as containers already. First: $0 --engine docker --stop"; fi
}

start_processes() {
  local before asked_at here=''
  rm -f "$RUN_DIR/engine"
  if [[ -n ${TECHSAPO_BIN_DIR:-} ]]; then
    BIN_DIR=$(realpath -m "$TECHSAPO_BIN_DIR")
  else
    BIN_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/${PROFILE/#dev/debug}
  fi
  say "TechSapo and its monitoring, natively: as ordinary processes of this machine, without a container engine${WHY_NO_ENGINE:+ ($WHY_NO_ENGINE)}."
  step "1/5 Looking around"
  check_folders
  check_ports
  if [[ $REUSE_REDIS == yes ]]; then note "a Redis answers on port ${PORT[redis]}: it will be used"; fi
  if [[ -z ${TECHSAPO_BIN_DIR:-} ]]; then require_cargo; fi
  install
  step "2/5 Building"
  build
  step "3/5 Starting"
  start_all
  step "4/5 One sample analysis"
  before=$(counted_by_exporter) || die "the exporter's page at $(url_of exporter)/metrics could not be read."
  asked_at=$(date +%s)
  sample_analysis
  step "5/5 Does Prometheus see it?"
  await_prometheus $((before + 1)) "$asked_at"

  step "TechSapo is up ($SECONDS s)"
  print_table
  if [[ $RUN_DIR != "$ROOT/run" ]]; then here="TECHSAPO_RUN_DIR=$RUN_DIR "; fi
  cat <<DONE

  ask:     curl -s $(url_of app)/api/v1/generate -H 'content-type: application/json' -d '{"prompt":"How do I roll out a change safely?","task_type":"basic"}'
  count:   curl -s $(url_of prometheus)/api/v1/query --data-urlencode 'query=sum($COUNTER)'
  state:   $here./scripts/start-monitoring.sh --status
  stop:    $here./scripts/start-monitoring.sh --stop
DONE
  FINISHED=yes
}

stop() {
  local name failed=0 found=no
  if in_engine; then
    take_lock
    choose_ports
    stop_in_engine
    return
  fi
  [[ -d $RUN_DIR ]] || { say "Nothing was started from $(shown "$RUN_DIR")."; return; }
  take_lock
  for name in "${STOP_ORDER[@]}"; do
    if [[ -e $RUN_DIR/$name.state ]]; then found=yes; fi
    service_stop "$name" 45 || failed=1
  done
  ((failed == 0)) || die "not everything could be stopped. Call this as the user who started it, or as root."
  rm -f "$RUN_DIR/ports"
  if [[ $found == yes ]]; then say "All stopped. Data and logs stay in $(shown "$RUN_DIR")."; else say "Nothing was running."; fi
}

# Whether --stop and --status mean containers: what was asked for, or else how it was started.
in_engine() {
  [[ -n $ENGINE ]] || ENGINE=$(cat "$RUN_DIR/engine" 2>/dev/null) || ENGINE=none
  [[ $ENGINE == docker ]] || return 1
  engine_reachable || die "it was started as containers, and now $WHY_NO_ENGINE."
}

status() {
  if in_engine; then
    choose_ports
    status_in_engine
    return
  fi
  print_table
  if ((WORKING == ${#START_ORDER[@]})); then return 0; fi
  if any_running; then return 1; fi
  return 3
}

main() {
  local action=start
  while (($#)); do
    case $1 in
      --stop) action=stop ;;
      --status) action=status ;;
      --engine)
        ENGINE=${2:-}
        [[ $ENGINE == docker || $ENGINE == none ]] || die "--engine is '$ENGINE'; it can be docker or none."
        shift
        ;;
      -y | --yes) ASSUME_YES=yes ;;
      -h | --help) action=usage ;;
      *) die "unknown option '$1'. See: $0 --help" ;;
    esac
    shift
  done
  "$action"
}

main "$@"
