#!/usr/bin/env bash
# Makes faults in a running stack of start-monitoring.sh, one after the other, and follows each alert until it fires and until
# it is over. `--help` tells how to use it. What the faults are stands in lib/faults.sh.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/services.sh
source "$ROOT/scripts/lib/services.sh"
# shellcheck source-path=SCRIPTDIR source=lib/faults.sh
source "$ROOT/scripts/lib/faults.sh"

usage() {
  cat <<'HELP'
Shows that the alerts work: makes faults in the stack that ./scripts/start-monitoring.sh has started, one after the other.
Each is made, its alerts are followed until Alertmanager has them, the fault is ended, and they are followed until they
are over. What was killed, stopped or set otherwise is put right again, also after Ctrl-C.

  ./scripts/demo-faults.sh                    the faults whose alerts come and go soon: about half an hour
  ./scripts/demo-faults.sh FAULT…             these faults, such as: app-killed providers-fail
  ./scripts/demo-faults.sh --all              those too whose rules alone take ten minutes or longer
  ./scripts/demo-faults.sh --list             the faults, their alerts and what their rules say
  ./scripts/demo-faults.sh --help             this text

Settings, from the environment:
  TECHSAPO_RUN_DIR=run              where the stack was started

What the columns of the table at the end say:
  for               how long the rule wants its condition to hold before it fires
  fired_after       from the beginning of the fault until the alert was in Alertmanager: `for`, and what the window of the rule,
                    a scrape (15 s) and a look at the rules (15 s) take
  goes_on           how long the rule keeps firing when its condition has ended
  resolved_after    from the end of the fault until the alert was no longer in Alertmanager

It is meant for a stack for trying out: the app is killed and started again, and people are notified if secrets say whom.
It refuses to run where real providers would be asked. Ends with 0 if every alert fired and was over in time.
Not shown: HostMemoryCritical (nobody should fill a host's memory for it), and what takes hours or days.
HELP
}

RUN_DIR=$(realpath -m "${TECHSAPO_RUN_DIR:-$ROOT/run}")
LONG=600      # seconds that a rule itself takes from which on a fault is left out unless it is named
SLACK=180     # seconds that anything may take beyond that: scrapes, looks at the rules, starting, a busy machine
STOP=$RUN_DIR/demo-faults.stop # whoever wants the demonstration to end makes this file
MADE=''       # the fault that is there now
ROWS=()       # of the table
MISSED=0      # alerts that did not fire, or were not over, in time

# --- what the rules say -------------------------------------------------------------------------------------------

# Where this stack's Prometheus, or without a stack the repository, has its rules.
rules_folder() {
  local found=''
  if [[ -r $RUN_DIR/prometheus.yml ]]; then found=$(sed -n 's#^  - \(/.*\)/\*\.yml$#\1#p' "$RUN_DIR/prometheus.yml"); fi
  printf '%s' "${found:-$ROOT/prometheus/rules}"
}

# What each alert's rule says, in seconds, rounded up: for how long its condition must hold (WAITS), for how long it goes on
# after that (GOES_ON), and how far back it looks (LOOKS_BACK): what it saw there it forgets only then.
declare -A WAITS=() GOES_ON=() LOOKS_BACK=()

read_rules() {
  local alert waits goes_on looks_back
  while read -r alert waits goes_on looks_back; do
    WAITS[$alert]=$waits GOES_ON[$alert]=$goes_on LOOKS_BACK[$alert]=$looks_back
  done < <(cat "$(rules_folder)"/*.yml | awk '
    function seconds(text, n) {
      n = text + 0
      sub(/^[0-9]+/, "", text)
      n *= text == "ms" ? 0.001 : text == "m" ? 60 : text == "h" ? 3600 : text == "d" ? 86400 : 1
      return n == int(n) ? n : int(n) + 1
    }
    function tell() { if (alert != "") print alert, waits + 0, goes_on + 0, looks_back + 0 }
    $1 == "-" && $2 ~ /^(alert|record|name):$/ {
      tell()
      alert = $2 == "alert:" ? $3 : ""
      waits = goes_on = looks_back = 0
      inside = 1
    }
    $1 == "annotations:" { inside = 0 }
    $1 == "for:" { waits = seconds($2) }
    $1 == "keep_firing_for:" { goes_on = seconds($2) }
    inside {
      # What was recorded says in its name how far it looks back.
      text = $0
      while (match(text, /(\[|:[a-z_]*(rate|mean|increase))[0-9]+(ms|s|m|h|d)/)) {
        range = substr(text, RSTART, RLENGTH)
        text = substr(text, RSTART + RLENGTH)
        sub(/^[^0-9]*/, "", range)
        if (seconds(range) > looks_back) looks_back = seconds(range)
      }
    }
    END { tell() }')
}

# What the slowest of a fault's alerts takes by its own rule, from the fault until it is over.
takes() {
  local alert takes most=0
  for alert in ${ALERTS[$1]}; do
    takes=$((WAITS[$alert] + GOES_ON[$alert] + LOOKS_BACK[$alert]))
    if ((takes > most)); then most=$takes; fi
  done
  echo "$most"
}

list() {
  local fault alert left_out
  printf '%-20s %-28s %7s %7s\n' fault alert for goes_on
  for fault in "${FAULTS[@]}"; do
    for alert in ${ALERTS[$fault]}; do
      printf '%-20s %-28s %5d s %5d s\n' "$fault" "$alert" "${WAITS[$alert]}" "${GOES_ON[$alert]}"
    done
    left_out=''
    if (($(takes "$fault") >= LONG)); then left_out=' (slow: only with --all, or named)'; fi
    printf '    %s%s\n' "${ABOUT[$fault]}" "$left_out"
  done
}

# --- before anything is done --------------------------------------------------------------------------------------

check_stack() {
  local name providers status
  [[ -d $RUN_DIR ]] || die "nothing runs in $RUN_DIR. Start the stack first: ./scripts/start-monitoring.sh"
  for name in app exporter prometheus alertmanager node-exporter; do
    service_running "$name" ||
      die "$name does not run in $RUN_DIR. Start the stack first: ./scripts/start-monitoring.sh"
  done
  APP=$(record_get app url)
  PROMETHEUS=$(record_get prometheus url)
  ALERTMANAGER=$(record_get alertmanager url)
  # A label that is no provider's (`"provider": …` of a breaker, say) would be refused too, which is the safe side.
  providers=$(fetch "$APP/api/v1/health" | grep -o '"provider": *"[^"]*"' | grep -v '"Simulated-') || true
  [[ -z $providers ]] || die "the app asks real providers, whose answers cost money, and these faults would waste it:
$providers
  Start a stack without their keys."
  status=$(ask "$RANDOM-$RANDOM")
  [[ $status == 200 ]] || die "the app answers a question with status $status. These faults need one that answers whoever asks: without
  API keys, and with its providers well."
}

# choose ALL FAULT…: what is to be done, in FAULTS' order, in CHOSEN.
choose() {
  local all=$1 fault
  shift
  CHOSEN=()
  for fault in "$@"; do
    [[ -n ${ABOUT[$fault]:-} ]] || die "there is no fault '$fault'. Those that there are: ./scripts/demo-faults.sh --list"
  done
  for fault in "${FAULTS[@]}"; do
    if (($# > 0)); then
      if [[ " $* " == *" $fault "* ]]; then CHOSEN+=("$fault"); fi
    elif [[ $all == yes ]] || (($(takes "$fault") < LONG)); then
      CHOSEN+=("$fault")
    else
      note "$fault is left out: by its rule alone ${ALERTS[$fault]} takes $(takes "$fault") s to come and go (--all makes it too)"
    fi
  done
}

# --- following an alert -------------------------------------------------------------------------------------------

clock() { printf '%d:%02d' $((SECONDS / 60)) $((SECONDS % 60)); }
tell() { printf '  [%s] %s\n' "$(clock)" "$*"; }

# Does Alertmanager have it, as one that is not over?
fires() { [[ $(fetch "$ALERTMANAGER/api/v2/alerts" --get --data-urlencode "filter=alertname=\"$1\"") == *'"alertname"'* ]]; }

is_over() {
  local answer
  answer=$(fetch "$ALERTMANAGER/api/v2/alerts" --get --data-urlencode "filter=alertname=\"$1\"") && [[ $answer == '[]' ]]
}

is_pending() {
  fetch "$PROMETHEUS/api/v1/query" --get --data-urlencode "query=ALERTS{alertname=\"$1\",alertstate=\"pending\"}" |
    grep -q '"pending"'
}

# await LIMIT WHAT COMMAND…: until it succeeds; says every half minute that it waits. Fails after LIMIT seconds.
await() {
  local limit=$1 what=$2 began=$SECONDS told=$SECONDS
  shift 2
  until "$@"; do
    if is_stopped; then exit 130; fi
    if ((SECONDS - began >= limit)); then return 1; fi
    if ((SECONDS - told >= 30)); then
      told=$SECONDS
      tell "waiting until $what ($((SECONDS - began)) s of at most $limit s)"
    fi
    sleep 1
  done
}

# fires_or_pends ALERT: as `fires`; and tells, once, that Prometheus waits for the rule's `for`.
fires_or_pends() {
  if fires "$1"; then return 0; fi
  if [[ -z ${PENDING[$1]:-} ]] && is_pending "$1"; then
    PENDING[$1]=yes
    tell "$1 is pending"
  fi
  return 1
}

# --- one fault ----------------------------------------------------------------------------------------------------

# made FAULT begin|end
made() { "$2_${1//-/_}"; }

# show FAULT: its row for each of its alerts.
show() {
  local fault=$1 alert began ended
  local -A fired=() over=()
  local -A PENDING=()
  printf '\n%s%s%s: %s\n' "$BOLD" "$fault" "$PLAIN" "${ABOUT[$fault]}"
  if [[ $fault == redis-hangs && $(record_get redis reused) == yes ]]; then
    note "left out: this Redis was there before the stack, and may serve others"
    return
  fi
  for alert in ${ALERTS[$fault]}; do
    await "$(patience_until_over "$alert")" "$alert, which fires already, is over" is_over "$alert" || {
      warn "$alert fires already and does not end: $fault is left out"
      missed "$fault" "$alert" "fires already" -
      return
    }
  done

  began=$SECONDS
  MADE=$fault
  made "$fault" begin
  tell "the fault is there"
  for alert in ${ALERTS[$fault]}; do
    if await $((WAITS[$alert] + LOOKS_BACK[$alert] + SLACK)) "$alert fires" fires_or_pends "$alert"; then
      fired[$alert]=$((SECONDS - began))
      tell "$alert is in Alertmanager, ${fired[$alert]} s after the fault (for: ${WAITS[$alert]} s)"
    else
      warn "$alert did not fire in time"
    fi
  done
  ask_no_more

  ended=$SECONDS
  made "$fault" end
  tell "the fault is ended"
  # What failed is outweighed, and then forgotten, by what succeeds.
  ask_on 1
  for alert in ${ALERTS[$fault]}; do
    [[ -n ${fired[$alert]:-} ]] || continue
    if await "$(patience_until_over "$alert")" "$alert is over" is_over "$alert"; then
      over[$alert]=$((SECONDS - ended))
      tell "$alert is over, ${over[$alert]} s after the fault (it goes on for ${GOES_ON[$alert]} s)"
    else
      warn "$alert was not over in time"
    fi
  done
  ask_no_more
  MADE=''
  for alert in ${ALERTS[$fault]}; do
    if [[ -n ${over[$alert]:-} ]]; then
      row "$fault" "$alert" "${fired[$alert]} s" "${over[$alert]} s"
    else
      missed "$fault" "$alert" "${fired[$alert]:-never}" never
    fi
  done
}

patience_until_over() { echo $((GOES_ON[$1] + LOOKS_BACK[$1] + SLACK)); }

# row FAULT ALERT FIRED_AFTER RESOLVED_AFTER
row() {
  ROWS+=("$(printf '%-20s %-28s %5d s %13s %5d s %16s' "$1" "$2" "${WAITS[$2]}" "$3" "${GOES_ON[$2]}" "$4")")
}

missed() {
  MISSED=$((MISSED + 1))
  row "$@"
}

print_table() {
  ((${#ROWS[@]})) || return 0
  printf '\n%s%-20s %-28s %7s %13s %7s %16s%s\n' "$BOLD" fault alert for fired_after goes_on resolved_after "$PLAIN"
  printf '%s\n' "${ROWS[@]}"
  ROWS=()
}

# --- all of them ----------------------------------------------------------------------------------------------------

# A bash that waits for a command, or reads a $(…), may lose a Ctrl-C or trip over it, and then nobody would end the fault. So the faults
# are made by a process in a group of its own, which no terminal's signal reaches, and the one that people call only waits for it.
demonstrate() {
  local fault
  trap finish EXIT
  trap '' TTOU # a terminal may stop who writes in the background
  remember app
  remember exporter
  for fault in "${CHOSEN[@]}"; do
    if is_stopped; then exit 130; fi
    show "$fault"
  done
  print_table
  ((MISSED == 0)) || die "$MISSED alert(s) did not fire, or were not over, in time."
}

# Was Ctrl-C pressed, or is nobody there any more who waits? ($$ is the process that was called.)
is_stopped() { [[ -e $STOP ]] || ! process_start $$ >/dev/null; }

# Whatever ends the demonstration ends here: a fault that is there is ended, and what was shown is told.
finish() {
  local status=$? fault=$MADE
  trap - EXIT
  trap '' INT TERM HUP PIPE # whoever read this may be gone
  set +e
  MADE=''
  ask_no_more
  if [[ -n $fault ]]; then
    printf '\nEnding %s:\n' "$fault" >&2
    (made "$fault" end) >&2 || warn "$fault could not be ended. Start the stack anew: ./scripts/start-monitoring.sh --stop, then without the flag"
    if ((status == 0)); then status=1; fi # a signal
  fi
  print_table
  exit "$status"
}

# Waits for process $1, whatever signals come meanwhile, and ends as it does.
wait_for_end_of() {
  local status
  while :; do
    status=0
    wait "$1" || status=$?
    kill -0 "$1" 2>/dev/null || break
  done
  rm -f "$STOP"
  exit "$status"
}

main() {
  local all=no action=run
  local -a named=()
  while (($#)); do
    case $1 in
      -h | --help) action=usage ;;
      --list) action=list ;;
      --all) all=yes ;;
      -*) die "unknown option '$1'. See: $0 --help" ;;
      *) named+=("$1") ;;
    esac
    shift
  done
  if [[ $action == usage ]]; then
    usage
    return
  fi
  read_rules
  if [[ $action == list ]]; then
    list
    return
  fi
  choose "$all" ${named[@]+"${named[@]}"}
  check_stack
  take_lock
  rm -f "$STOP"
  trap ': >"$STOP"' INT TERM HUP
  set -m # a group of its own
  demonstrate </dev/null &
  set +m
  wait_for_end_of "$!"
}

main "$@"
