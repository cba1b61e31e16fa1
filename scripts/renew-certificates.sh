#!/usr/bin/env bash
# Renews certificates in time, has servers take them in, and tells Prometheus when they expire. `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/certificates.sh
source "$ROOT/scripts/lib/certificates.sh"

usage() {
  cat <<'HELP'
Renews every certificate of which two thirds of its life are over, that the present authority did not sign, or that is not good.
./scripts/install-renewal-cron.sh has it run daily.

  ./scripts/renew-certificates.sh                  what is due
  ./scripts/renew-certificates.sh --force NAME     also this one (may be given several times; --force all: every one)
  ./scripts/renew-certificates.sh --dry-run        only says what would be done

A certificate is replaced only by one that is good: key, chain, dates, names. Otherwise the old one stays, the metrics say so, and this
ends with 1. Its key stays, unless it is older than a year or others may read it.

/etc/ssl/techsapo/renewal.conf (in TECHSAPO_TLS_DIR) may hold, a line each:

  reload NAME COMMAND          run after NAME's certificate, or what is trusted, has changed; 'none' where the server notices by itself
  issue NAME COMMAND           NAME's certificate comes from somebody else, as an ACME client: COMMAND is run with two more arguments, the
                               files to write the certificate (with its chain) and its key to
  authorities NAME FILE        whose certificates that may be (PEM), instead of all that this system trusts

Without such a line nginx, techsapo, gate and long-term-store (its proxy) reload nginx, redis is told by redis-cli (and redis-sentinel.service
started again) and mysql by mysql, if they run on this host; all others read their files anew by themselves. A COMMAND of 'reload' is ended
after 20 minutes (or TECHSAPO_RELOAD_SECONDS), and has failed then. A reload that fails is tried again the next time. The public certificate
is techsapo: /etc/ssl/certs/techsapo.crt, /etc/ssl/private/techsapo.key. Where there is no ca.key certificates are brought from elsewhere
(./scripts/certificates.sh install), and this script reloads and reports alone.

Metrics: techsapo-certificates.prom in /var/lib/prometheus/node-exporter (or TECHSAPO_TEXTFILE_DIR), of Node Exporter's textfile collector.
HELP
}

TEXTFILE_DIR=$(realpath -m "${TECHSAPO_TEXTFILE_DIR:-/var/lib/prometheus/node-exporter}")
RELOAD_SECONDS=60
# Commands of the settings may wait for servers, each until it is well: `production-prepare.sh --certificates` starts 8 containers again, one
# after the other, and gives each 120 s (HEALTHY_SECONDS there). That, and 4 minutes for all else that it does.
COMMAND_SECONDS=${TECHSAPO_RELOAD_SECONDS:-1200}
ISSUE_SECONDS=600
NGINX_PID=/run/nginx.pid
REDIS_PORT=6379
SENTINEL_UNIT=redis-sentinel.service
MYSQL_SOCKET=${MYSQL_UNIX_PORT:-/run/mysqld/mysqld.sock}

DRY_RUN=no
FORCED=()
RENEWED=0
declare -A LOOKED_AT=()     # Is as it should be, or not: that is known.
declare -A FAILED=()        # Could not be renewed.
declare -A RELOAD_FAILED=() # Renewed, and its server did not take it in.
declare -A ENDED=()         # What a command for reloading ended with: several services may share one.

# --- renewing -------------------------------------------------------------------------------------------------------

is_forced() {
  local forced
  for forced in ${FORCED[@]+"${FORCED[@]}"}; do
    if [[ $forced == all || $forced == "$1" ]]; then return; fi
  done
  return 1
}

# Made by ourselves, on this host?
is_ours() { [[ -z $(setting issue "$1") && -e $TLS_DIR/ca.key ]]; }

# reason NAME: why it is to be renewed; nothing if it is not.
reason() {
  local certificate authority said
  certificate=$(current "$1")/tls.crt
  said=$(problem_of "$1")
  if is_forced "$1"; then
    say "as you wish"
  elif [[ -n $said ]]; then
    say "it is not good: $said"
  elif (($(due_at "$certificate") <= $(date +%s))); then
    say "two thirds of its life are over"
  elif is_ours "$1" && authority=$(signing_authority) && ! made_by "$certificate" "$authority"; then
    say "another authority signs now"
  fi
}

# make_new NAME FOLDER: a new pair by ourselves or by whom the settings name. Says why not and fails.
make_new() {
  local name=$1 pair=$2 command certificate from
  local -a names
  certificate=$(current "$name")/tls.crt
  command=$(setting issue "$name")
  if [[ -n $command ]]; then
    timeout "$ISSUE_SECONDS" sh -c "$command \"\$@\"" "issue $name" "$pair/tls.crt" "$pair/tls.key" >&2 </dev/null 9>&- ||
      { say "'$command' ended with $?"; return 1; }
    [[ -s $pair/tls.crt && -s $pair/tls.key ]] || { say "'$command' did not write both files"; return 1; }
    return
  fi
  # What somebody else signed is not ours to replace.
  if due_at "$certificate" >/dev/null && ! made_by "$certificate" "$TLS_DIR/ca.crt"; then
    say "it is by $(common_name "$certificate" issuer), not by an authority of ours; say in $SETTINGS how to get it: issue $name COMMAND"
    return 1
  fi
  mapfile -t names < <(names_of "$certificate")
  if ((${#names[@]} == 0)); then
    say "its names cannot be read from the one that is there; make it anew: ./scripts/certificates.sh issue $name SAN…"
    return 1
  fi
  needs_new_key "$name" || keep_key "$name" "$pair" || { say "its key cannot be read"; return 1; }
  from=$(($(date +%s) - CLOCK_SKEW_SECONDS))
  make_pair "$name" "$pair" "$from" $((from + LEAF_DAYS * 86400)) "${names[@]}"
}

# renew NAME: a new generation, if it is good. Says why not and fails.
renew() {
  local name=$1 pair said
  local -a names
  pair=$(new_pair)
  make_new "$name" "$pair" || return
  mapfile -t names < <(names_of "$(current "$name")/tls.crt")
  said=$(problem "$pair/tls.crt" "$pair/tls.key" "$(authorities_of "$name")" ${names[@]+"${names[@]}"})
  # Who wrote the key may have left it open; it is closed when it is put in place.
  if [[ $said == 'others may read'* ]]; then said=''; fi
  [[ -z $said ]] || { say "the new one is not good: $said"; return 1; }
  (($(due_at "$pair/tls.crt") > $(date +%s))) || { say "the new one is due itself"; return 1; }
  publish "$name" "$pair" "$(group_of "$name")"
}

renew_what_is_due() {
  local name why said
  for name in $(services); do
    why=$(reason "$name")
    if [[ -z $why ]]; then
      : # It is good and has time.
    elif [[ ! -e $TLS_DIR/ca.key && -z $(setting issue "$name") ]]; then
      # It comes from elsewhere; that it expires is an alert. One that cannot be used is a failure now.
      if [[ -n $(problem_of "$name") ]]; then FAILED[$name]=1; fi
      note "$name: $why; it is made elsewhere: there is no ca.key here"
    elif [[ $DRY_RUN == yes ]]; then
      note "$name: would be renewed: $why"
    elif said=$(renew "$name"); then
      RENEWED=$((RENEWED + 1))
      note "$name: renewed ($why), until $(date -d "@$(not_after "$(current "$name")/tls.crt")" +%F)"
    else
      FAILED[$name]=1
      warn "$name was not renewed, and stays as it was: ${said:-it could not be put in place}"
    fi
    LOOKED_AT[$name]=1
  done
}

# --- reloading ------------------------------------------------------------------------------------------------------

reload_nginx() {
  [[ -s $NGINX_PID ]] && kill -0 "$(<"$NGINX_PID")" 2>/dev/null || return 0
  # It would keep its old configuration if it cannot read the new one, and tell its log alone.
  timeout "$RELOAD_SECONDS" nginx -t -q && timeout "$RELOAD_SECONDS" nginx -s reload
}

# A sentinel takes no setting of TLS while it runs, hence it is started again. The others watch meanwhile: this is run at another minute on
# each host (install-renewal-cron.sh).
restart_sentinel() {
  if have systemctl && systemctl --quiet is-active "$SENTINEL_UNIT"; then
    timeout "$RELOAD_SECONDS" systemctl restart "$SENTINEL_UNIT"
  fi
}

# The server first, so that a sentinel that begins anew finds who shows what it trusts.
reload_redis() { reload_redis_server && restart_sentinel; }

reload_redis_server() {
  local -a client=(timeout "$RELOAD_SECONDS" redis-cli -e -p "$REDIS_PORT" --tls --cacert "$TLS_DIR/ca.crt")
  port_open "$REDIS_PORT" || return 0
  "${client[@]}" --cert "$TLS_DIR/redis.crt" --key "$TLS_DIR/redis.key" CONFIG SET tls-cert-file "$TLS_DIR/redis.crt" \
    tls-key-file "$TLS_DIR/redis.key" tls-ca-cert-file "$TLS_DIR/ca.crt"
}

reload_mysql() {
  local version
  local -a client=(timeout "$RELOAD_SECONDS" mysql --socket="$MYSQL_SOCKET" --batch --skip-column-names)
  [[ -S $MYSQL_SOCKET ]] || return 0
  version=$("${client[@]}" --execute='SELECT VERSION()') || return
  case $version in
    *MariaDB*) "${client[@]}" --execute='FLUSH SSL' ;;
    *) "${client[@]}" --execute='ALTER INSTANCE RELOAD TLS' ;;
  esac
}

# What a service has to be told of: its certificate, and what it trusts.
state_of() { cat "$(current "$1")/tls.crt" "$TLS_DIR/ca.crt" | sha256sum | cut -d ' ' -f 1; }

# reload NAME: has its server take in what is there now. A command that several share is run once.
reload() {
  local command
  command=$(setting reload "$1")
  if [[ -z $command ]]; then
    case $1 in
      nginx | gate | long-term-store | "$PUBLIC") command=reload_nginx ;;
      redis | mysql) command=reload_$1 ;;
      *) command=none ;;
    esac
  fi
  if [[ -z ${ENDED[$command]:-} ]]; then
    case $command in
      none) ENDED[$command]=0 ;;
      reload_nginx | reload_redis | reload_mysql)
        ENDED[$command]=0
        "$command" >&2 </dev/null 9>&- || ENDED[$command]=$?
        ;;
      *)
        ENDED[$command]=0
        timeout "$COMMAND_SECONDS" sh -c "$command" >&2 </dev/null 9>&- || ENDED[$command]=$?
        [[ ${ENDED[$command]} != 124 ]] || warn "'$command' was ended after $COMMAND_SECONDS s"
        ;;
    esac
  fi
  return "${ENDED[$command]}"
}

reload_what_changed() {
  local name state stamp
  for name in $(services); do
    stamp=$SERVICES_DIR/$name/reloaded
    state=$(state_of "$name")
    [[ $(cat "$stamp" 2>/dev/null) != "$state" ]] || continue
    if [[ $DRY_RUN == yes ]]; then
      note "$name: its server would be told"
    elif reload "$name"; then
      replace "$stamp" <<<"$state"
    else
      RELOAD_FAILED[$name]=1
      warn "$name: its server could not be told of its certificate; what it said stands above. It will be tried again"
    fi
  done
}

# --- metrics --------------------------------------------------------------------------------------------------------

# family NAME: its text and type, as they are declared.
family() { grep -E "^# (HELP|TYPE) $1 " "$ROOT/prometheus/textfile/certificates.prom"; }

metrics() {
  family techsapo_certificate_not_before_timestamp_seconds
  each_date techsapo_certificate_not_before_timestamp_seconds not_before
  family techsapo_certificate_not_after_timestamp_seconds
  each_date techsapo_certificate_not_after_timestamp_seconds not_after
  family techsapo_certificates_renewal_failed
  each_flag techsapo_certificates_renewal_failed FAILED
  family techsapo_certificates_reload_failed
  each_flag techsapo_certificates_reload_failed RELOAD_FAILED
  family techsapo_certificates_renewal_last_run_timestamp_seconds
  printf 'techsapo_certificates_renewal_last_run_timestamp_seconds %d\n' "$(date +%s)"
}

# each_date METRIC READ: of the authority that signs (without its key: that is trusted first), and of every service. Who has none says none.
each_date() {
  local name value authority
  authority=$(signing_authority) || authority=$TLS_DIR/ca.crt
  if value=$("$2" "$authority"); then printf '%s{certificate="ca"} %d\n' "$1" "$value"; fi
  for name in $(services); do
    if value=$("$2" "$(current "$name")/tls.crt"); then printf '%s{certificate="%s"} %d\n' "$1" "$name" "$value"; fi
  done
}

# each_flag METRIC SERVICES: 1 for those that are in SERVICES, 0 for all others.
each_flag() {
  local name
  local -n flagged=$2
  for name in $(services); do printf '%s{certificate="%s"} %d\n' "$1" "$name" "${flagged[$name]:-0}"; done
}

# Written beside and renamed: the collector reads whole files, and only those that end with .prom.
write_metrics() {
  mkdir -p "$TEXTFILE_DIR" && metrics | replace "$TEXTFILE_DIR/techsapo-certificates.prom"
}

# However it ends, what is known is told; what was not looked at counts as failed.
finish() {
  local status=$? name
  trap - EXIT
  if [[ -n $WORK && $DRY_RUN == no ]]; then
    for name in $(services); do [[ -n ${LOOKED_AT[$name]:-} ]] || FAILED[$name]=1; done
    write_metrics || { warn "the metrics could not be written to $TEXTFILE_DIR (as $(id -un))"; status=1; }
  fi
  end_work
  exit "$status"
}

main() {
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --dry-run) DRY_RUN=yes ;;
      --force)
        [[ -n ${2:-} ]] || die "--force needs a name. See: $0 --help"
        FORCED+=("$2")
        shift
        ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift
  done
  # For `timeout`, 0 is no limit.
  [[ $COMMAND_SECONDS =~ ^[1-9][0-9]{0,5}$ ]] || die "TECHSAPO_RELOAD_SECONDS must be a whole number above 0; it is '$COMMAND_SECONDS'."
  have openssl || die "openssl is missing. Install Debian's package of that name."
  [[ -r $TLS_DIR/ca.crt ]] || die "there is no authority in $TLS_DIR (as $(id -un)). Make one: ./scripts/certificates.sh init"
  local name
  for name in ${FORCED[@]+"${FORCED[@]}"}; do
    [[ $name == all || -L $(current "$name") ]] || die "there is no certificate '$name'. See: ./scripts/certificates.sh status"
  done
  umask 022
  trap finish EXIT
  # Not waiting for another: that one does what there is to do.
  begin_work 0
  check_settings
  renew_what_is_due
  reload_what_changed
  say "$(services | wc -l) certificates: $RENEWED renewed, ${#FAILED[@]} could not be, ${#RELOAD_FAILED[@]} servers could not be told"
  ((${#FAILED[@]} + ${#RELOAD_FAILED[@]} == 0))
}

main "$@"
