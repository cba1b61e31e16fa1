# shellcheck shell=bash
# Starts, watches and stops our own processes, each with its log and its record under $RUN_DIR:
#
#   NAME.pid     the process id, alone (for people and other tools)
#   NAME.state   what proves that this process is ours: pid, start time, boot id, executable; and where it serves
#   NAME.log     what it says; the run before is in NAME.log.1
#
# A pid alone proves nothing, for the kernel uses numbers again. A process is ours only if pid, start time, boot and
# executable all agree with the record; anything else is never signalled.
# Sourced after common.sh; the caller sets RUN_DIR. Descriptor 9 is its lock (take_lock) and is kept from the children.

STARTED=() # What this very call started, in order.

# --- the folder ---------------------------------------------------------------------------------------------------

# One script at a time works on RUN_DIR: it holds descriptor 9.
take_lock() {
  may_write "$RUN_DIR"
  exec 9>>"$RUN_DIR/lock" || die "cannot write $RUN_DIR/lock (as $(id -un))."
  flock --nonblock 9 ||
    die "another script is at work on $RUN_DIR (pid $(cat "$RUN_DIR/lock")). Wait for it, or end it with Ctrl-C."
  echo $$ >"$RUN_DIR/lock"
}

# may_write FOLDER: it exists afterwards, and we can make files in it.
may_write() {
  if ! mkdir -p "$1" 2>/dev/null || ! touch "$1/.may-write" 2>/dev/null; then
    die "cannot write in $1 (as $(id -un)).
  Perhaps another user made it: give yourself the right to it, or choose another folder: TECHSAPO_RUN_DIR=/some/folder $0"
  fi
  rm -f "$1/.may-write"
}

# --- records ------------------------------------------------------------------------------------------------------

# record_get NAME KEY
record_get() {
  [[ -r $RUN_DIR/$1.state ]] || return 1
  sed -n "s/^$2=//p" "$RUN_DIR/$1.state" | head -n 1
}

# record_write NAME PID EXE URL
record_write() {
  printf 'pid=%s\nstart=%s\nboot=%s\nexe=%s\nurl=%s\n' \
    "$2" "$(process_start "$2")" "$(boot_id)" "$3" "$4" >"$RUN_DIR/$1.state.new"
  mv -f "$RUN_DIR/$1.state.new" "$RUN_DIR/$1.state"
  printf '%s\n' "$2" >"$RUN_DIR/$1.pid"
}

record_remove() { rm -f "$RUN_DIR/$1.state" "$RUN_DIR/$1.pid"; }

# A service that we use and did not start: kept so that --stop leaves it alone and --status can say so.
record_reused() { printf 'reused=yes\nurl=%s\n' "$2" >"$RUN_DIR/$1.state"; }

# --- processes ----------------------------------------------------------------------------------------------------

boot_id() { cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo unknown; }

# When PID began, in clock ticks since boot; fails if it is gone or only a zombie.
process_start() {
  local stat
  local -a field
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -r -a field <<<"${stat##*) }" # The name before it, in parentheses, may hold anything.
  [[ ${field[0]} != [ZX] ]] || return 1
  printf '%s' "${field[19]}"
}

# The program that PID runs; a file replaced by a newer build is named " (deleted)" by the kernel.
process_exe() {
  local exe
  exe=$(readlink "/proc/$1/exe" 2>/dev/null) || return 0
  printf '%s' "${exe% (deleted)}"
}

# Is NAME's recorded process alive, and still the same one?
service_running() {
  local pid start exe now
  pid=$(record_get "$1" pid) && [[ -n $pid ]] || return 1
  [[ $(record_get "$1" boot) == "$(boot_id)" ]] || return 1
  start=$(process_start "$pid") || return 1
  [[ $start == "$(record_get "$1" start)" ]] || return 1
  exe=$(record_get "$1" exe)
  now=$(process_exe "$pid")
  [[ -z $exe || -z $now || $exe == "$now" ]]
}

# Does it still run a file that has been replaced since?
service_outdated() { [[ $(readlink "/proc/$(record_get "$1" pid)/exe" 2>/dev/null) == *' (deleted)' ]]; }

# service_start NAME URL COMMAND…: in a session of its own, so that Ctrl-C here or a closed terminal does not reach it.
service_start() {
  local name=$1 url=$2 log=$RUN_DIR/$1.log
  shift 2
  if [[ -e $log ]]; then mv -f "$log" "$log.1"; fi
  printf '  %-16s starting … ' "$name"
  STARTED+=("$name")
  setsid -- "$@" >"$log" 2>&1 </dev/null 9>&- &
  record_write "$name" "$!" '' "$url"
}

# service_await NAME SECONDS CHECK…: until CHECK succeeds. Ends with the log's last lines if the process dies or stays silent.
service_await() {
  local name=$1 limit=$2 began=$SECONDS dot=$SECONDS pid
  shift 2
  until service_running "$name" && "$@" >/dev/null 2>&1; do
    if ! service_running "$name"; then
      printf 'died\n'
      service_log_tail "$name"
      die "$name ended as soon as it was started; its last words stand above (all of them: $RUN_DIR/$name.log)."
    fi
    if ((SECONDS - began >= limit)); then
      printf 'no answer\n'
      service_log_tail "$name"
      die "$name runs but did not become ready at $(record_get "$name" url) within $limit s (log: $RUN_DIR/$name.log)."
    fi
    if ((SECONDS - dot >= 2)); then
      printf '.'
      dot=$SECONDS
    fi
    sleep 0.2
  done
  pid=$(record_get "$name" pid)
  record_write "$name" "$pid" "$(process_exe "$pid")" "$(record_get "$name" url)"
  printf '%sready%s (pid %s)\n' "$GREEN" "$PLAIN" "$pid"
}

service_log_tail() {
  if [[ -s $RUN_DIR/$1.log ]]; then
    tail -n 12 "$RUN_DIR/$1.log" | cut -c 1-400 | sed 's/^/    /' >&2
  else
    printf '    (it said nothing)\n' >&2
  fi
}

# service_stop NAME SECONDS: asks it to end, waits, and only then kills. Fails if we may not.
service_stop() {
  local name=$1 limit=$2 began=$SECONDS dot=$SECONDS pid
  [[ -e $RUN_DIR/$name.state ]] || return 0
  if [[ $(record_get "$name" reused) == yes ]]; then
    printf '  %-16s left running: it was not started here\n' "$name"
    record_remove "$name"
    return 0
  fi
  pid=$(record_get "$name" pid)
  if ! service_running "$name"; then
    printf '  %-16s was gone already (pid %s)\n' "$name" "$pid"
    record_remove "$name"
    return 0
  fi
  printf '  %-16s stopping … ' "$name"
  if ! kill -TERM "$pid" 2>/dev/null && service_running "$name"; then
    printf 'not permitted: pid %s belongs to %s\n' "$pid" "$(stat -c %U "/proc/$pid" 2>/dev/null || echo 'another user')"
    return 1
  fi
  while service_running "$name"; do
    if ((SECONDS - began >= limit)); then
      printf 'did not end within %d s, killed\n' "$limit"
      kill -KILL "$pid" 2>/dev/null || true
      record_remove "$name"
      return 0
    fi
    if ((SECONDS - dot >= 2)); then
      printf '.'
      dot=$SECONDS
    fi
    sleep 0.1
  done
  record_remove "$name"
  printf 'stopped\n'
}
