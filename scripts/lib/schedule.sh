# shellcheck shell=bash
# Has scripts of this repository run at times of the day, as root: by timers where systemd runs, otherwise by cron. Calling it again changes
# nothing, or takes in what has changed. The files that it writes say which script wrote them.
# Sourced after common.sh. The caller sets JOBS and PASSED, defines usage, and calls schedule "$@".

# One line for each job: its name | what it does | the command, from the root of the repository | cron's five fields | systemd's OnCalendar
JOBS=()
# Variables of the environment that are set for the jobs too, where they are set now.
PASSED=()

SCHEDULE_PREFIX='' # a root to write below instead of /
SCHEDULE_DRY=no

schedule_cron_file() { printf '%s/etc/cron.d/%s' "$SCHEDULE_PREFIX" "$1"; }
schedule_unit_file() { printf '%s/etc/systemd/system/%s.%s' "$SCHEDULE_PREFIX" "$1" "$2"; }
schedule_author() { printf '# Written by scripts/%s' "${0##*/}"; }

# A minute that is always the same on this host, and another one on the next.
host_minute() { printf '%d' $((16#$(printf '%s' "$(uname -n) $ROOT" | sha256sum | cut -c 1-6) % 60)); }

# What is written is made of lines: no word in it may hold the end of one.
check_words() {
  local word variable
  local -a words=("$ROOT")
  for variable in "${PASSED[@]}"; do words+=("${!variable:-}"); done
  for word in "${words[@]}"; do
    [[ $word != *[[:cntrl:]]* ]] || die "'$word' holds a line's end or another control character."
  done
}

# quoted_for_cron TEXT: for the shell that cron starts. A % would end the line.
quoted_for_cron() {
  local text="'${1//\'/\'\\\'\'}'"
  printf '%s' "${text//%/\\%}"
}

# quoted_for_systemd TEXT: where % begins what is filled in.
quoted_for_systemd() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//%/%%}"
}

cron_line() {
  local name=$1 does=$2 command=$3 when=$4 variable
  printf '%s\n# %s\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n%s root env' "$(schedule_author)" "$does" "$when"
  for variable in "${PASSED[@]}"; do
    if [[ -n ${!variable:-} ]]; then printf ' %s=%s' "$variable" "$(quoted_for_cron "${!variable}")"; fi
  done
  printf ' %s%s >>/var/log/%s.log 2>&1\n' "$(quoted_for_cron "$ROOT/${command%% *}")" "${command#"${command%% *}"}" "$name"
}

service_unit() {
  local does=$2 command=$3 variable program
  program=$(quoted_for_systemd "$ROOT/${command%% *}")
  # Here a $ begins a variable; in Environment= it does not.
  printf '%s\n[Unit]\nDescription=%s\nWants=network-online.target\nAfter=network-online.target\n\n[Service]\nType=oneshot\nExecStart=%s%s\n' \
    "$(schedule_author)" "$does" "${program//\$/\$\$}" "${command#"${command%% *}"}"
  for variable in "${PASSED[@]}"; do
    if [[ -n ${!variable:-} ]]; then printf 'Environment=%s\n' "$(quoted_for_systemd "$variable=${!variable}")"; fi
  done
  printf 'TimeoutStartSec=3h\nPrivateTmp=yes\nProtectControlGroups=yes\nProtectKernelTunables=yes\nProtectKernelModules=yes\nNice=10\nIOSchedulingClass=idle\n'
}

timer_unit() {
  printf '%s\n[Unit]\nDescription=%s\n\n[Timer]\nOnCalendar=%s\nPersistent=yes\n\n[Install]\nWantedBy=timers.target\n' "$(schedule_author)" "$2" "$5"
}

# put_file FILE: what comes on stdin, in one step, unless it stands there already; or shows it.
put_file() {
  local text
  text=$(cat)
  if [[ $SCHEDULE_DRY == yes ]]; then
    printf -- '--- %s\n%s\n' "$1" "$text"
  elif [[ -e $1 && $(<"$1") == "$text" ]]; then
    note "$1 is there already"
  else
    # Cron passes over names with a dot.
    { mkdir -p "$(dirname "$1")" && printf '%s\n' "$text" >"$1.new" && chmod 644 "$1.new" && mv -f "$1.new" "$1"; } 2>/dev/null ||
      die "cannot write $1 (as $(id -un))."
    note "wrote $1"
  fi
}

take_file() {
  if [[ ! -e $1 ]]; then return; fi
  if [[ $SCHEDULE_DRY == yes ]]; then
    note "would remove $1"
    return
  fi
  rm -f "$1" || die "cannot remove $1 (as $(id -un))."
  note "removed $1"
}

# Is there a systemd that is to hear of it?
systemd_hears() { [[ -z $SCHEDULE_PREFIX && $SCHEDULE_DRY == no && -d /run/systemd/system ]]; }

# each_job FUNCTION: with the fields of each job.
each_job() {
  local job
  local -a field
  for job in "${JOBS[@]}"; do
    IFS='|' read -r -a field <<<"$job"
    "$1" "${field[@]}"
  done
}

job_to_cron() { cron_line "$@" | put_file "$(schedule_cron_file "$1")"; }
job_from_cron() { take_file "$(schedule_cron_file "$1")"; }

job_to_timer() {
  service_unit "$@" | put_file "$(schedule_unit_file "$1" service)"
  timer_unit "$@" | put_file "$(schedule_unit_file "$1" timer)"
  if systemd_hears; then
    systemctl daemon-reload
    systemctl enable --quiet --now "$1.timer"
  fi
}

job_from_timer() {
  if systemd_hears && [[ -e $(schedule_unit_file "$1" timer) ]]; then systemctl disable --quiet --now "$1.timer"; fi
  take_file "$(schedule_unit_file "$1" timer)"
  take_file "$(schedule_unit_file "$1" service)"
  if systemd_hears; then systemctl daemon-reload; fi
}

# schedule ARGUMENT…: reads them, and does it. Afterwards SCHEDULED is install or uninstall, or empty if nothing was changed.
schedule() {
  local how='' what=install
  SCHEDULED=''
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --uninstall) what=uninstall ;;
      --dry-run) SCHEDULE_DRY=yes ;;
      --cron | --timer) how=${1#--} ;;
      --root)
        [[ -n ${2:-} ]] || die "--root needs a folder. See: $0 --help"
        SCHEDULE_PREFIX=$(realpath -m "$2")
        shift
        ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  [[ -n $SCHEDULE_PREFIX || $SCHEDULE_DRY == yes ]] || ((EUID == 0)) || die "this is for root: sudo $0"
  check_words
  if [[ -z $how ]]; then
    how=cron
    if [[ -d /run/systemd/system ]]; then how=timer; fi
  fi
  if [[ $what == uninstall ]]; then
    each_job job_from_timer
    each_job job_from_cron
  elif [[ $how == timer ]]; then
    each_job job_to_timer
    # Twice a day would be once too often.
    each_job job_from_cron
  else
    [[ -n $SCHEDULE_PREFIX || $SCHEDULE_DRY == yes || -d /etc/cron.d ]] || die "there is neither systemd nor /etc/cron.d; install cron: apt-get install cron"
    each_job job_to_cron
    each_job job_from_timer
  fi
  # shellcheck disable=SC2034 # for the caller
  if [[ $SCHEDULE_DRY == no && -z $SCHEDULE_PREFIX ]]; then SCHEDULED=$what; fi
}
