#!/usr/bin/env bash
# Makes and looks after the certificates of this installation: an authority of its own, and one certificate for each service.
# `--help` tells more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/certificates.sh
source "$ROOT/scripts/lib/certificates.sh"

usage() {
  cat <<'HELP'
Certificates by an authority of our own, in /etc/ssl/techsapo (or TECHSAPO_TLS_DIR). Every service has one, good as server and as client.

  ./scripts/certificates.sh init [--only NAME]…           makes the authority: ca.crt, ca.key (10 years)
  ./scripts/certificates.sh issue NAME [SAN…]             makes NAME.crt and NAME.key (90 days), or renews them
  ./scripts/certificates.sh issue --all                   the same for every service of the production stack that has none yet
  ./scripts/certificates.sh install NAME CRT KEY          takes a pair that was made elsewhere
  ./scripts/certificates.sh status                        names, days that are left, when each is due
  ./scripts/certificates.sh check                         chain, keys, dates, names, rights; ends with 1 if anything is wrong
  ./scripts/certificates.sh rotate-ca start|switch|finish changes the authority while both are trusted

SAN are all names and addresses that clients use. Without any: those that the certificate has; of a new one NAME, localhost, 127.0.0.1,
::1 and the names of this host (or those in TECHSAPO_TLS_NAMES, with blanks between them).

  init    --only NAME     the authority can sign names below this domain, or addresses of this network (10.0.0.0/8), alone; SAN
                          must then be given, for localhost and the like are not among them
          --days N        instead of 3650
  issue   --group GROUP   GROUP may read the key: the one that the service runs as. It stays so when the certificate is renewed
          --new-key       a new key too. Otherwise it stays: servers that read two files always find two that fit
          --days N        instead of 90
          --from TIME, --until TIME    from when, until when (as `date -d` takes it), for drills

A first time, as root:

  ./scripts/certificates.sh init
  ./scripts/certificates.sh issue redis --group redis redis redis.internal 10.0.0.7
  ./scripts/certificates.sh issue --all
  ./scripts/install-renewal-cron.sh

Nothing is written in place: what is new is made beside, verified (key, chain, dates, names, rights), and put in place by one rename. What
servers must be told is told by ./scripts/renew-certificates.sh, which renews all this at two thirds of its life. More: docs/certificates.md
HELP
}

LOCK_SECONDS=60

need_authority() { [[ -r $TLS_DIR/ca.crt ]] || die "there is no authority in $TLS_DIR (as $(id -un)). Make one: $0 init"; }
need_key() { [[ -r $TLS_DIR/ca.key ]] || die "$TLS_DIR/ca.key is not here: certificates are made where it is, and brought here with: $0 install"; }

begin() {
  umask 022
  trap end_work EXIT
  begin_work "$LOCK_SECONDS"
  check_settings
}

# --- init -----------------------------------------------------------------------------------------------------------

# constraints NAME…: for OpenSSL, what alone may be signed. Without a network among them, no address may.
constraints() {
  local only said names='' addresses=''
  for only in "$@"; do
    if [[ $only == */* ]]; then
      addresses+=",permitted;IP:$(mask "$only")" || return
    else
      said=$(alternative "$only") || { warn "$said"; return 1; }
      names+=",permitted;DNS:$only"
    fi
  done
  [[ -n $names ]] || { warn "--only has to name a domain, too"; return 1; }
  addresses=${addresses:-,excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:::/::}
  printf '%s' "${names#,}$addresses"
}

# mask NETWORK/BITS: as NETWORK/MASK, of IPv4.
mask() {
  local bits=${1#*/} number
  if [[ ! $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+/[0-9]+$ ]] || ((bits > 32)); then die "'$1' is no network of IPv4, as 10.0.0.0/8 is."; fi
  number=$((bits ? (0xffffffff << (32 - bits)) & 0xffffffff : 0))
  printf '%s/%d.%d.%d.%d' "${1%/*}" $((number >> 24)) $((number >> 16 & 255)) $((number >> 8 & 255)) $((number & 255))
}

init() {
  local days=$CA_DAYS text='' said
  local -a only=()
  while (($#)); do
    case $1 in
      --only) only+=("${2:-}") ;;
      --days) days=${2:-} ;;
      *) die "unknown argument '$1'. See: $0 --help" ;;
    esac
    shift 2 || die "$1 needs a value. See: $0 --help"
  done
  [[ $days =~ ^[1-9][0-9]{0,4}$ ]] || die "'$days' is no number of days."
  if ((${#only[@]})); then text=$(constraints "${only[@]}") || die "the authority was not made."; fi
  (umask 022 && mkdir -p "$TLS_DIR") 2>/dev/null || die "cannot make the folder $TLS_DIR (as $(id -un))."
  begin
  [[ ! -e $TLS_DIR/ca.crt ]] || die "there is an authority in $TLS_DIR already. To change it: $0 rotate-ca"
  said=$(make_authority "$WORK/ca.key" "$WORK/ca.crt" "$days" "$text") || die "no authority was made. $said"
  # Its key first: what everyone trusts can be used from its first moment.
  sync "$WORK/ca.key" && mv -fT "$WORK/ca.key" "$TLS_DIR/ca.key"
  trust "$WORK/ca.crt"
  note "made $TLS_DIR/ca.crt: $(common_name "$TLS_DIR/ca.crt" subject), until $(date -d "@$(not_after "$TLS_DIR/ca.crt")" +%F)"
  note "$TLS_DIR/ca.key signs for whoever has it: keep a copy of it off this host, and nowhere else"
}

# --- issue, install -------------------------------------------------------------------------------------------------

# make NAME FROM UNTIL NEW_KEY GROUP [SAN…]: one certificate, verified and in place.
make() {
  local name=$1 from=$2 until=$3 new_key=$4 group=$5 pair said
  shift 5
  pair=$(new_pair)
  if [[ -L $(current "$name") ]]; then
    if [[ $new_key == no ]]; then keep_key "$name" "$pair" || die "$(current "$name")/tls.key cannot be read (as $(id -un))."; fi
    group=${group:-$(group_of "$name")}
    if (($# == 0)); then mapfile -t names < <(names_of "$(current "$name")/tls.crt") && set -- "${names[@]}"; fi
  fi
  if (($# == 0)); then mapfile -t names < <(printf '%s\n' "$name" && names_of_host) && set -- "${names[@]}"; fi
  said=$(make_pair "$name" "$pair" "$from" "$until" "$@") || die "no certificate was made for $name. $said"
  put "$name" "$pair" "$TLS_DIR/ca.crt" "$group"
}

# put NAME FOLDER AUTHORITIES GROUP: a pair, if it is good.
put() {
  local said
  said=$(problem "$2/tls.crt" "$2/tls.key" "$3")
  [[ -z $said ]] || die "the certificate for $1 is not good: $said. What was there stays."
  said=$(publish "$1" "$2" "$4") || die "the certificate for $1 could not be put in place: ${said:-$SERVICES_DIR cannot be written}"
  note "$1: until $(date -d "@$(not_after "$TLS_DIR/$1.crt")" '+%F %R'), for $(names_of "$TLS_DIR/$1.crt" | paste -s -d , | sed 's/,/, /g')"
}

issue() {
  local all=no new_key=no group='' days=$LEAF_DAYS from='' until='' name=''
  local -a names=()
  while (($#)); do
    case $1 in
      --all) all=yes ;;
      --new-key) new_key=yes ;;
      --group | --days | --from | --until)
        [[ -n ${2:-} ]] || die "$1 needs a value. See: $0 --help"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
      -*) die "unknown option '$1'. See: $0 --help" ;;
      *) if [[ -z $name ]]; then name=$1; else names+=("$1"); fi ;;
    esac
    shift
  done
  [[ $days =~ ^[1-9][0-9]{0,3}$ ]] || die "'$days' is no number of days."
  if [[ $all == yes ]]; then [[ -z $name ]] || die "either --all or a name. See: $0 --help"; else
    valid_service "$name" || die "'$name' cannot be a service's name: small letters, digits and hyphens. See: $0 --help"
  fi
  need_authority
  need_key
  from=$(if [[ -n $from ]]; then seconds "$from"; else printf '%s' $(($(date +%s) - CLOCK_SKEW_SECONDS)); fi)
  until=$(if [[ -n $until ]]; then seconds "$until"; else printf '%s' $((from + days * 86400)); fi)
  ((from < until)) || die "it would end before it begins."
  begin
  if [[ $all == no ]]; then
    make "$name" "$from" "$until" "$new_key" "$group" ${names[@]+"${names[@]}"}
    return
  fi
  for name in "${PRODUCTION[@]}"; do
    if [[ -L $(current "$name") ]]; then note "$name: there already"; else make "$name" "$from" "$until" "$new_key" "$group"; fi
  done
}

install_pair() {
  local name=${1:-} pair
  (($# == 3)) || die "three arguments are needed: NAME CRT KEY. See: $0 --help"
  valid_service "$name" || die "'$name' cannot be a service's name: small letters, digits and hyphens."
  need_authority
  begin
  pair=$(new_pair)
  if ! cp -L "$2" "$pair/tls.crt" || ! (umask 077 && cp -L "$3" "$pair/tls.key"); then die "that cannot be read (as $(id -un))."; fi
  put "$name" "$pair" "$(authorities_of "$name")" "$(group_of "$name")"
}

# --- status, check --------------------------------------------------------------------------------------------------

# What is wrong with the authority, a line each.
authority_problems() {
  local said
  if [[ ! -e $TLS_DIR/ca.key ]]; then return; fi
  if [[ ! -r $TLS_DIR/ca.key ]]; then
    say "$TLS_DIR/ca.key cannot be read (as $(id -un))"
  elif ! said=$(signing_authority); then
    say "$said"
  else
    openssl x509 -in "$said" -noout -checkend 0 >/dev/null || say "the authority has expired"
    if ((0$(stat -c %a "$TLS_DIR/ca.key") & 077)); then say "others may read $TLS_DIR/ca.key"; fi
  fi
}

# days SECONDS: from now until then.
days() { printf '%d' $((($1 - $(date +%s)) / 86400)); }

# remark NAME CERTIFICATE
remark() {
  local said
  said=$(problem_of "$1")
  if [[ -n $said ]]; then
    printf '%s' "$said"
  elif (($(due_at "$2") <= $(date +%s))); then
    printf 'due'
  fi
}

status() {
  local name certificate row='%-16s %9s  %-10s  %-24s %s%s\n'
  need_authority
  begin
  say "$TLS_DIR: $(grep -c '^-----BEGIN CERTIFICATE-----$' "$TLS_DIR/ca.crt") trusted, $(rotation)"
  # shellcheck disable=SC2059 # the same form for every row
  {
    printf "$row" certificate 'days left' 'due from' 'signed by' names ''
    printf "$row" ca "$(days "$(not_after "$TLS_DIR/ca.crt")")" '' "$(common_name "$TLS_DIR/ca.crt" issuer)" '' ''
    for name in $(services); do
      certificate=$(current "$name")/tls.crt
      if ! due_at "$certificate" >/dev/null; then
        printf "$row" "$name" '' '' '' '' "$(remark "$name" "$certificate")"
        continue
      fi
      printf "$row" "$name" "$(days "$(not_after "$certificate")")" "$(date -d "@$(due_at "$certificate")" +%F)" \
        "$(common_name "$certificate" issuer)" "$(names_of "$certificate" | paste -s -d ' ')" \
        "$(said=$(remark "$name" "$certificate") && if [[ -n $said ]]; then printf '  (%s)' "$said"; fi)"
    done
  } | sed 's/ *$//'
  authority_problems | sed 's/^/  /'
}

check_all() {
  local name said bad=0
  need_authority
  begin
  while read -r said; do
    bad=$((bad + 1))
    say "ca: $said"
  done < <(authority_problems)
  for name in $(services); do
    said=$(problem_of "$name")
    if [[ -z $said ]]; then say "$name: good"; else
      bad=$((bad + 1))
      say "$name: $said"
    fi
  done
  ((bad == 0))
}

# --- rotate-ca ------------------------------------------------------------------------------------------------------

# How far the change of the authority is.
rotation() {
  if [[ -e $TLS_DIR/ca-next.key ]]; then
    say "a new authority is trusted and does not sign yet ($0 rotate-ca switch)"
  elif [[ -e $TLS_DIR/ca-former.key ]]; then
    say "a former authority is trusted still ($0 rotate-ca finish)"
  else
    say "no change of the authority is under way"
  fi
}

# The new authority comes after the one that signs, in what everyone trusts.
rotate_start() {
  local text said authority
  [[ ! -e $TLS_DIR/ca-next.key && ! -e $TLS_DIR/ca-former.key ]] || die "it has begun: $(rotation)."
  authority=$(signing_authority) || die "$authority."
  text=$(openssl x509 -in "$authority" -noout -ext nameConstraints 2>/dev/null | same_constraints)
  said=$(make_authority "$WORK/next.key" "$WORK/next.crt" "$CA_DAYS" "$text") || die "no authority was made. $said"
  cat "$authority" "$WORK/next.crt" >"$WORK/both.crt"
  sync "$WORK/next.key" && mv -fT "$WORK/next.key" "$TLS_DIR/ca-next.key"
  trust "$WORK/both.crt"
  note "$TLS_DIR/ca.crt holds both now. Bring it to every host, and run ./scripts/renew-certificates.sh on each"
  note "and then: $0 rotate-ca switch"
}

# same_constraints: what OpenSSL prints of an authority's constraints, as OpenSSL takes it.
same_constraints() {
  awk '/Permitted:/ { kind = "permitted" } /Excluded:/ { kind = "excluded" }
    /(DNS|IP):/ { gsub(/^ +/, ""); printf "%s%s;%s", (some++ ? "," : ""), kind, $0 }'
}

rotate_switch() {
  [[ -e $TLS_DIR/ca-next.key ]] || die "there is no new authority: $(rotation)."
  ln -fT "$TLS_DIR/ca.key" "$TLS_DIR/ca-former.key"
  mv -fT "$TLS_DIR/ca-next.key" "$TLS_DIR/ca.key"
  note "the new authority signs. Now: ./scripts/renew-certificates.sh, which replaces every certificate of the former one"
  note "and then: $0 rotate-ca finish"
}

rotate_finish() {
  local name authority
  [[ -e $TLS_DIR/ca-former.key && ! -e $TLS_DIR/ca-next.key ]] || die "there is no former authority to forget: $(rotation)."
  authority=$(signing_authority) || die "$authority."
  for name in $(services); do
    [[ $(authorities_of "$name") == "$TLS_DIR/ca.crt" ]] || continue
    made_by "$(current "$name")/tls.crt" "$authority" ||
      die "$name has a certificate of the former authority still. Run ./scripts/renew-certificates.sh first."
  done
  trust "$authority"
  rm -f "$TLS_DIR/ca-former.key"
  note "the former authority is forgotten here. Bring $TLS_DIR/ca.crt to every host, and run ./scripts/renew-certificates.sh on each"
}

rotate() {
  (($# == 1)) || die "one of start, switch, finish is needed. See: $0 --help"
  need_authority
  need_key
  begin
  case $1 in
    start | switch | finish) "rotate_$1" ;;
    *) die "unknown step '$1'. See: $0 --help" ;;
  esac
}

main() {
  local what=${1:-}
  (($# == 0)) || shift
  case $what in
    -h | --help) usage ;;
    init) init "$@" ;;
    issue) issue "$@" ;;
    install) install_pair "$@" ;;
    status) status ;;
    check) check_all ;;
    rotate-ca) rotate "$@" ;;
    '') die "what shall be done? See: $0 --help" ;;
    *) die "unknown command '$what'. See: $0 --help" ;;
  esac
}

have openssl || die "openssl is missing. Install Debian's package of that name."
main "$@"
