# shellcheck shell=bash
# The other way to start everything: as containers, by docker-compose.yml. Sourced after common.sh and render.sh; the caller has PORT,
# RUN_DIR and the steps that both ways share (sample_analysis, await_prometheus …).

COMPOSE=()       # Docker Compose, whichever there is
WHY_NO_ENGINE='' # what is missing, if no engine can be used
# Compose's own choice, in both versions: the folder's name.
PROJECT=${ROOT##*/}
PROJECT=${PROJECT,,}
export COMPOSE_PROJECT_NAME=${COMPOSE_PROJECT_NAME:-${PROJECT//[^a-z0-9_-]/}}

# Finds Compose v2, else docker-compose.
find_compose() {
  if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose)
  elif have docker-compose; then COMPOSE=(docker-compose)
  else return 1; fi
}

# Is there an engine that answers us, and a Compose to talk to it? Else says in WHY_NO_ENGINE what is missing.
engine_reachable() {
  WHY_NO_ENGINE=''
  if ! have docker; then WHY_NO_ENGINE='docker is not installed'
  elif ! timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
    WHY_NO_ENGINE="docker is installed, but its engine does not answer $(id -un)"
  elif ! find_compose; then WHY_NO_ENGINE='docker has no Compose'; fi
  [[ -z $WHY_NO_ENGINE ]]
}

compose() { (cd "$ROOT" && "${COMPOSE[@]}" "$@" 9>&-); }

# What Compose takes from the environment.
export_settings() {
  local name
  PORT["grafana"]=${TECHSAPO_PORT_GRAFANA:-3000}
  for name in "${!PORT[@]}"; do export "$(port_variable "$name")=${PORT[$name]}"; done
  export TECHSAPO_COMPOSE_DIR=$RUN_DIR/compose TECHSAPO_ALERT_SECRETS=$ALERT_SECRETS TECHSAPO_IMAGE_PROFILE=$PROFILE
}

# containers: "service state health" of each of this project's, sorted.
containers() {
  docker ps --all --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
    --format '{{.Label "com.docker.compose.service"}} {{.State}} {{.Status}}' |
    awk '{ health = "-"
           if (match($0, /\((healthy|unhealthy|health: starting)\)/)) health = substr($0, RSTART + 1, RLENGTH - 2)
           sub("health: ", "", health); print $1, $2, health }' | sort
}

# Prints the table; leaves the numbers of containers that work and that there are in WORKING and FOUND. One that has done its work
# and ended counts for neither.
print_containers() {
  local service state health ports
  WORKING=0
  FOUND=0
  printf '  %-16s %-10s %-10s %s\n' what state health where
  while read -r service state health; do
    if [[ $service != keys ]]; then
      ((FOUND += 1))
      if [[ $state == running && $health == healthy ]]; then ((WORKING += 1)); fi
    fi
    ports=-
    if [[ -n ${PORT[$service]:-} && $state == running ]]; then ports=$(page_of "$service" "$(url_of "$service")"); fi
    printf '  %-16s %-10s %-10s %s\n' "$service" "$state" "$health" "$ports"
  done < <(containers)
}

# Until every container is healthy. Ends with the last words of one that is not.
await_containers() {
  local limit=300 began=$SECONDS dot=$SECONDS waiting
  printf '  waiting until all of them are healthy '
  while :; do
    waiting=$(containers | awk '$1 != "keys" && !($2 == "running" && $3 == "healthy") { print $1 }' | paste -sd ' ')
    [[ -n $waiting ]] || break
    if ((SECONDS - began >= limit)); then
      printf 'gave up\n'
      # shellcheck disable=SC2086 # These are several.
      compose logs --tail 12 $waiting | cut -c 1-400 >&2
      die "these containers did not become healthy within $limit s: $waiting (their last words stand above)."
    fi
    if ((SECONDS - dot >= 2)); then
      printf '.'
      dot=$SECONDS
    fi
    sleep 1
  done
  printf ' %sdone%s (%d s)\n' "$GREEN" "$PLAIN" $((SECONDS - began))
}

# The key for the sample analysis: made once, and kept where the app keeps its own. In API_KEY.
sample_key() {
  local file=/var/lib/techsapo/start-monitoring.key
  compose exec -T app techsapo keys create --name start-monitoring --tier basic --to "$file" >"$RUN_DIR/key.log" 2>&1 </dev/null ||
    die "no API key could be made: $(tail -n 1 "$RUN_DIR/key.log")"
  # shellcheck disable=SC2034 # for sample_analysis
  API_KEY=$(compose exec -T app cat "$file" </dev/null)
}

start_in_engine() {
  local before asked_at
  say "TechSapo and its monitoring as containers: ${COMPOSE[*]}, project $COMPOSE_PROJECT_NAME. (--engine none: as ordinary processes)"
  step "1/5 Looking around"
  have curl || die "curl is missing; install it: apt-get install curl"
  export_settings
  "$ROOT/scripts/compose-prepare.sh" || die "nothing was started."
  step "2/5 Images"
  if [[ -n ${TECHSAPO_BIN_DIR:-} ]]; then
    note "using the programs in $TECHSAPO_BIN_DIR"
    cp -f "$TECHSAPO_BIN_DIR"/techsapo "$TECHSAPO_BIN_DIR"/techsapo-exporter "$ROOT/docker/prebuilt/" ||
      die "there are no programs techsapo and techsapo-exporter in $TECHSAPO_BIN_DIR."
    # Another builder than BuildKit would compile all the same.
    export TECHSAPO_IMAGE_BINARIES=prebuilt DOCKER_BUILDKIT=1
  else
    note "compiling with profile $PROFILE (the first time it takes some minutes)"
  fi
  compose build || die "the images could not be made; what was said stands above. Nothing was started."
  step "3/5 Starting"
  echo docker >"$RUN_DIR/engine"
  compose up -d || die "not everything could be started; what was said stands above. What did start is shown by $0 --status."
  await_containers
  step "4/5 One sample analysis"
  before=$(counted_by_exporter) || die "the exporter's page at $(url_of exporter)/metrics could not be read."
  asked_at=$(date +%s)
  sample_key
  sample_analysis
  step "5/5 Does Prometheus see it?"
  await_prometheus $((before + 1)) "$asked_at"
  step "TechSapo is up ($SECONDS s)"
  print_containers
  cat <<DONE

  key:     ${COMPOSE[*]} exec app techsapo keys create --name me --tier premium
  ask:     curl -s $(url_of app)/api/v1/generate -H 'authorization: Bearer KEY' -H 'content-type: application/json' -d '{"prompt":"How do I roll out a change safely?","task_type":"basic"}'
  Grafana: $(url_of grafana) (admin, password in secrets/compose/grafana-admin-password)
  state:   ./scripts/start-monitoring.sh --status
  stop:    ./scripts/start-monitoring.sh --stop
DONE
  # shellcheck disable=SC2034 # for finish
  FINISHED=yes
}

stop_in_engine() {
  export_settings
  compose down || die "not everything could be stopped; what was said stands above."
  rm -f "$RUN_DIR/engine"
  say "All stopped. Data stays in the volumes of the project $COMPOSE_PROJECT_NAME."
}

status_in_engine() {
  export_settings
  print_containers
  if ((FOUND == 0)); then return 3; fi
  ((WORKING == FOUND))
}
