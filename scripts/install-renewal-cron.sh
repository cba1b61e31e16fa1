#!/usr/bin/env bash
# Has certificates renewed daily: by a timer where systemd runs, otherwise by cron. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'HELP'
Has ./scripts/renew-certificates.sh run once a day, at a time of this host's own, as root. Calling it again changes nothing, or takes in a
changed folder.

  ./scripts/install-renewal-cron.sh               a timer where systemd runs, otherwise an entry in /etc/cron.d
  ./scripts/install-renewal-cron.sh --uninstall   takes away either
  ./scripts/install-renewal-cron.sh --dry-run     shows what would be written, and writes nothing

  --cron, --timer    this one, whatever runs here
  --root FOLDER      writes below FOLDER (an image, a package), and starts nothing

TECHSAPO_TLS_DIR, TECHSAPO_TEXTFILE_DIR, TECHSAPO_PUBLIC_CERTIFICATE and TECHSAPO_PUBLIC_KEY, where they are set now, are set then too.
What it says: journalctl -u techsapo-certificates, or /var/log/techsapo-certificates.log
HELP
}

NAME=techsapo-certificates
SCRIPT=$ROOT/scripts/renew-certificates.sh
VARIABLES=(TECHSAPO_TLS_DIR TECHSAPO_TEXTFILE_DIR TECHSAPO_PUBLIC_CERTIFICATE TECHSAPO_PUBLIC_KEY)
PREFIX=''
DRY_RUN=no

cron_file() { printf '%s/etc/cron.d/%s' "$PREFIX" "$NAME"; }
unit_file() { printf '%s/etc/systemd/system/%s.%s' "$PREFIX" "$NAME" "$1"; }

# These files are made of lines: no word in them may hold the end of one.
check_words() {
  local word variable
  local -a words=("$SCRIPT")
  for variable in "${VARIABLES[@]}"; do words+=("${!variable:-}"); done
  for word in "${words[@]}"; do
    [[ $word != *[[:cntrl:]]* ]] || die "'$word' holds a line's end or another control character."
  done
}

# Quoted for the shell that cron starts; a % would be a line's end for cron.
for_cron() {
  local text=\'${1//\'/\'\\\'\'}\'
  printf '%s' "${text//%/\\%}"
}

# Quoted for systemd, where % and $ begin what is filled in.
for_systemd() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//%/%%}
  printf '"%s"' "${text//\$/\$\$}"
}

# In an Environment= line a $ means itself.
assignment_for_systemd() {
  local text
  text=$(for_systemd "$1")
  printf '%s' "${text//\$\$/\$}"
}

# A minute of the day between 1:00 and 5:00 that is always the same on this host, and another one on the next.
minute_of_day() { printf '%d' $((60 + 16#$(printf '%s' "$(hostname) $ROOT" | sha256sum | cut -c 1-6) % 240)); }

# settings FORM: what is set now, one a line, each as FORM writes it.
settings() {
  local variable
  for variable in "${VARIABLES[@]}"; do
    if [[ -n ${!variable:-} ]]; then "$1" "$variable" "${!variable}"; fi
  done
}

cron_setting() { printf ' %s=%s' "$1" "$(for_cron "$2")"; }
systemd_setting() { printf 'Environment=%s\n' "$(assignment_for_systemd "$1=$2")"; }

cron_entry() {
  local minute
  minute=$(minute_of_day)
  cat <<CRON
# Renews certificates in time, and tells Prometheus when they expire. Written by scripts/install-renewal-cron.sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
$((minute % 60)) $((minute / 60)) * * * root env$(settings cron_setting) $(for_cron "$SCRIPT") >>/var/log/$NAME.log 2>&1
CRON
}

service_unit() {
  cat <<UNIT
# Written by scripts/install-renewal-cron.sh
[Unit]
Description=Renews certificates in time, and tells Prometheus when they expire
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=$(for_systemd "$SCRIPT")
$(settings systemd_setting)
TimeoutStartSec=30min
PrivateTmp=yes
ProtectHome=read-only
ProtectControlGroups=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
UNIT
}

timer_unit() {
  cat <<UNIT
# Written by scripts/install-renewal-cron.sh
[Unit]
Description=Daily renewal of certificates

[Timer]
OnCalendar=*-*-* 01:00
RandomizedDelaySec=4h
FixedRandomDelay=yes
Persistent=yes

[Install]
WantedBy=timers.target
UNIT
}

# write FILE: what comes on stdin, if it is not there yet; or shows it.
write() {
  local text
  text=$(cat)
  if [[ $DRY_RUN == yes ]]; then
    printf -- '--- %s\n%s\n' "$1" "$text"
    return
  fi
  if [[ -e $1 && $(cat "$1") == "$text" ]]; then
    note "$1 is there already"
    return
  fi
  mkdir -p "$(dirname "$1")" || die "cannot write $1 (as $(id -un))."
  # Cron leaves files with a dot in their names alone: this one until it is whole.
  { printf '%s\n' "$text" >"$1.new" && chmod 644 "$1.new" && mv -fT "$1.new" "$1"; } 2>/dev/null || die "cannot write $1 (as $(id -un))."
  note "wrote $1"
}

remove() {
  [[ -e $1 ]] || return 0
  if [[ $DRY_RUN == yes ]]; then
    note "would remove $1"
  else
    rm -f "$1" || die "cannot remove $1 (as $(id -un))."
    note "removed $1"
  fi
}

# May systemd be told? Not of what is written for another root.
may_tell_systemd() { [[ -z $PREFIX && $DRY_RUN == no && -d /run/systemd/system ]]; }

remove_cron() { remove "$(cron_file)"; }

remove_timer() {
  if may_tell_systemd && [[ -e $(unit_file timer) ]]; then systemctl disable --now "$NAME.timer"; fi
  remove "$(unit_file timer)"
  remove "$(unit_file service)"
  if may_tell_systemd; then systemctl daemon-reload; fi
}

install_timer() {
  service_unit | write "$(unit_file service)"
  timer_unit | write "$(unit_file timer)"
  if may_tell_systemd; then
    systemctl daemon-reload
    systemctl enable --now "$NAME.timer"
  fi
  # Twice a day would be once too often.
  remove_cron
}

install_cron() {
  [[ -n $PREFIX || $DRY_RUN == yes || -d /etc/cron.d ]] || die "there is neither systemd nor /etc/cron.d. Install Debian's package cron."
  cron_entry | write "$(cron_file)"
  remove_timer
}

main() {
  local how='' what=install
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --uninstall) what=uninstall ;;
      --dry-run) DRY_RUN=yes ;;
      --cron | --timer) how=${1#--} ;;
      --root)
        [[ -n ${2:-} ]] || die "--root needs a folder. See: $0 --help"
        PREFIX=$(realpath -m "$2")
        shift
        ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  [[ -n $PREFIX || $DRY_RUN == yes ]] || ((EUID == 0)) || die "this is for root: sudo $0"
  check_words
  if [[ $what == uninstall ]]; then
    remove_timer
    remove_cron
    return
  fi
  if [[ -z $how ]]; then how=$(if [[ -d /run/systemd/system ]]; then echo timer; else echo cron; fi); fi
  "install_$how"
}

main "$@"
