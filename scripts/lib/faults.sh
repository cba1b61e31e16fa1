# shellcheck shell=bash
# The faults that demo-faults.sh makes in a stack of start-monitoring.sh, and how each is ended.
#
# A fault NAME is begin_NAME and end_NAME (with _ for -). Whatever begin_NAME may have left half done, end_NAME puts right: it is
# also called when somebody presses Ctrl-C in between. A fault uses what every user has: the app's own API, its settings, and
# signals to the processes that start-monitoring.sh recorded.
# Sourced after common.sh and services.sh; the caller sets RUN_DIR, and APP to the app's address.
# shellcheck disable=SC2034 # the tables are for those who source this

# In the order in which they are made.
FAULTS=(app-killed exporter-killed redis-hangs node-exporter-hangs providers-fail wrong-keys budget-spent probing
  slow-answers contradictions)

declare -A ABOUT=(
  [app-killed]="the app is killed (kill -9), later started again"
  [exporter-killed]="the exporter is killed (kill -9), later started again"
  [redis-hangs]="Redis is stopped where it stands, later goes on; meanwhile the app is asked"
  [node-exporter-hangs]="Node Exporter is stopped where it stands, later goes on"
  [providers-fail]="the app is started again with providers that always fail, and is asked"
  [wrong-keys]="thirty callers show the app a wrong key"
  [budget-spent]="the app is started again with a daily budget of a hundredth of a cent, and is asked"
  [probing]="a caller looks for six files that only attackers ask for"
  [slow-answers]="the app is started again with providers that take 12 s, and is asked"
  [contradictions]="the app is started again with providers that contradict each other, and is asked"
)

# The alerts that each brings about.
declare -A ALERTS=(
  [app-killed]="AppDown"
  [exporter-killed]="ExporterDown"
  [redis-hangs]="RedisDown RedisConsecutiveErrors"
  [node-exporter-hangs]="TargetDown"
  [providers-fail]="LlmProviderDown HttpErrorRateHigh"
  [wrong-keys]="AuthFailuresHigh"
  [budget-spent]="DailyBudgetHigh"
  [probing]="SensitiveAccessAttempt"
  [slow-answers]="SystemResponseTimeCritical"
  [contradictions]="WallBounceConsensusLow"
)

# --- killed, stopped, started again -------------------------------------------------------------------------------

# What a service was started with: it is started again with the same.
declare -A URL_OF=() FOLDER_OF=()
declare -a COMMAND_app=() COMMAND_exporter=() ENVIRONMENT_app=() ENVIRONMENT_exporter=()

# remember NAME: while it runs.
remember() {
  local -n to_command=COMMAND_$1 to_environment=ENVIRONMENT_$1
  local pid
  pid=$(record_get "$1" pid)
  mapfile -d '' -t to_command <"/proc/$pid/cmdline"
  mapfile -d '' -t to_environment <"/proc/$pid/environ"
  FOLDER_OF[$1]=$(readlink "/proc/$pid/cwd")
  URL_OF[$1]=$(record_get "$1" url)
}

# start_again NAME [SETTING=VALUE…]: as it was remembered, with further settings.
start_again() {
  local name=$1 health=/-/ready
  local -n of_command=COMMAND_$1
  shift
  if [[ $name == app ]]; then health=/health; fi
  # In a shell of its own, which takes the environment over: it holds secrets, and a command line is for all to see.
  (
    put_on_environment "$name" "$@"
    cd "${FOLDER_OF[$name]}" || exit 1
    service_start "$name" "${URL_OF[$name]}" "${of_command[@]}"
  )
  service_await "$name" 120 fetch "${URL_OF[$name]}$health"
}

put_on_environment() {
  local variable
  local -n of_environment=ENVIRONMENT_$1
  shift
  for variable in $(compgen -e); do unset "$variable" || true; done
  for variable in "${of_environment[@]}" "$@"; do
    # Functions that a shell exports are nothing that these programs need.
    if [[ $variable =~ ^[A-Za-z_][A-Za-z0-9_]*= ]]; then export "${variable?}"; fi
  done
}

# restart_app [SETTING=VALUE…]
restart_app() {
  service_stop app 45 || die "the app could not be stopped."
  start_again app "$@"
}

# signal NAME SIGNAL: to the process of that name, if it is still the one that was recorded.
signal() {
  service_running "$1" || die "$1 does not run any more."
  kill "-$2" "$(record_get "$1" pid)" || die "$1 could not be sent SIG$2. Call this as the user who started it, or as root."
}

# --- questions ----------------------------------------------------------------------------------------------------

ASKING=() # who asks without end

# ask WHICH: one question, put to all providers, and the status that it is answered with.
ask() {
  curl --silent --noproxy '*' --max-time 60 --output /dev/null --write-out '%{http_code}' \
    --header 'content-type: application/json' --header 'cache-control: no-cache' \
    --data "{\"prompt\":\"How do I find out why deployment $1 was slow?\",\"task_type\":\"critical\"}" \
    "$APP/api/v1/generate" || true
}

# ask_on CALLERS: so many ask again and again, with a second between, until ask_no_more.
ask_on() {
  local caller
  ask_no_more
  for ((caller = 0; caller < $1; caller++)); do
    (while :; do
      ask "$caller-$RANDOM-$SECONDS"
      sleep 1
    done) >/dev/null 2>&1 9>&- &
    ASKING+=("$!")
  done
}

ask_no_more() {
  local caller
  for caller in ${ASKING[@]+"${ASKING[@]}"}; do
    kill "$caller" 2>/dev/null || true
    wait "$caller" 2>/dev/null || true
  done
  ASKING=()
}

# --- the faults ---------------------------------------------------------------------------------------------------

begin_app_killed() { signal app KILL; }
end_app_killed() { service_running app || start_again app; }

begin_exporter_killed() { signal exporter KILL; }
end_exporter_killed() { service_running exporter || start_again exporter; }

begin_redis_hangs() {
  signal redis STOP
  ask_on 1
}
end_redis_hangs() { signal redis CONT; }

begin_node_exporter_hangs() { signal node-exporter STOP; }
end_node_exporter_hangs() { signal node-exporter CONT; }

begin_providers_fail() {
  restart_app TECHSAPO_SIMULATED_FAILURE_RATE=1
  ask_on 1
}
end_providers_fail() { restart_app; }

begin_wrong_keys() {
  local caller
  for ((caller = 0; caller < 30; caller++)); do
    fetch "$APP/api/v1/budget" --header "x-api-key: wrong-$caller" >/dev/null || true
  done
}
end_wrong_keys() { :; }

begin_budget_spent() {
  restart_app TECHSAPO_BUDGET_DAILY_USD=0.0001
  ask_on 1
}
end_budget_spent() { restart_app; }

begin_probing() {
  local path
  for path in .env .git/config wp-login.php wp-admin/ phpmyadmin/ .aws/credentials; do
    fetch "$APP/$path" >/dev/null || true
  done
}
end_probing() { :; }

begin_slow_answers() {
  restart_app TECHSAPO_SIMULATED_LATENCY=12s TECHSAPO_SIMULATED_LATENCY_JITTER=1s
  ask_on 4
}
end_slow_answers() { restart_app; }

begin_contradictions() {
  restart_app TECHSAPO_SIMULATED_DISAGREEMENT=0.5
  ask_on 1
}
end_contradictions() { restart_app; }
