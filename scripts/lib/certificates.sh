# shellcheck shell=bash
# Certificates of our own authority: read, verified, made, and put where servers read them.
#
#   $TLS_DIR/ca.crt                  what everyone trusts: one authority, two while it changes
#   $TLS_DIR/ca.key                  its key; only where certificates are made
#   $TLS_DIR/NAME.crt, NAME.key      fixed links to services/NAME/current/tls.crt and tls.key
#   $TLS_DIR/services/NAME/          one service: all that a container of it needs
#     current -> 7                   the generation in use, changed by one rename
#     7/tls.crt, 7/tls.key           never written again once they are there; the last three generations are kept
#     ca.crt                         a copy of the above
#     reloaded                       what the service was last told to take in
#
# Many servers open the two files one after the other, some at every handshake. Whichever moment a renewal hits, they fit
# together, because a renewal keeps the key: then both generations' certificates fit it. A new key is a rarer thing
# (docs/certificates.md). Sourced after common.sh; the caller calls begin_work, and end_work however it ends.

TLS_DIR=$(realpath -m "${TECHSAPO_TLS_DIR:-/etc/ssl/techsapo}")
SERVICES_DIR=$TLS_DIR/services
# The certificate that browsers see. Its documented places are linked to where it is, on hosts that use the documented folder.
PUBLIC=techsapo
if [[ $TLS_DIR == /etc/ssl/techsapo ]]; then
  PUBLIC_CERTIFICATE=${TECHSAPO_PUBLIC_CERTIFICATE:-/etc/ssl/certs/techsapo.crt}
  PUBLIC_KEY=${TECHSAPO_PUBLIC_KEY:-/etc/ssl/private/techsapo.key}
else
  PUBLIC_CERTIFICATE=${TECHSAPO_PUBLIC_CERTIFICATE:-}
  PUBLIC_KEY=${TECHSAPO_PUBLIC_KEY:-}
fi
# shellcheck disable=SC2034 # for those who source this
PRODUCTION=(exporter app node-exporter prometheus alertmanager grafana long-term-store redis mysql nginx gate "$PUBLIC")
AUTHORITIES_OF_SYSTEM=/etc/ssl/certs/ca-certificates.crt
SETTINGS=$TLS_DIR/renewal.conf

# shellcheck disable=SC2034 # for those who source this
LEAF_DAYS=90 CA_DAYS=3650
KEY_DAYS=365           # A key that is older is replaced when its certificate is renewed.
CLOCK_SKEW_SECONDS=300 # Certificates are valid from a little earlier, for hosts whose clock is late.
GENERATIONS=3
WORK=''

# --- one at a time --------------------------------------------------------------------------------------------------

# begin_work SECONDS: takes the lock, waiting at most so long for it, and makes a folder to work in on the same file system.
begin_work() {
  exec 9>>"$TLS_DIR/.lock" || die "cannot write $TLS_DIR/.lock (as $(id -un))."
  flock --timeout "$1" 9 || die "another script is at work on $TLS_DIR. Try again when it has ended."
  rm -rf "$TLS_DIR"/.work.??????
  WORK=$(mktemp -d "$TLS_DIR/.work.XXXXXX") || die "cannot write in $TLS_DIR (as $(id -un))."
}

end_work() { if [[ -n $WORK ]]; then rm -rf "$WORK"; fi; }

# --- names ----------------------------------------------------------------------------------------------------------

valid_service() { [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,62}$ && $1 != ca ]]; }

is_address() { [[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$ || $1 == *:* ]]; }

# alternative NAME…: as OpenSSL wants to have them: DNS:a,IP:1.2.3.4. Fails at the first that can be neither, and says so instead.
alternative() {
  local name text=''
  for name in "$@"; do
    if is_address "$name"; then
      [[ $name =~ ^[0-9A-Fa-f.:]+$ ]] || { say "'$name' is no address"; return 1; }
      text+=",IP:$name"
    else
      [[ $name =~ ^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9])?$ ]] || { say "'$name' is no name of a host"; return 1; }
      text+=",DNS:$name"
    fi
  done
  printf '%s' "${text#,}"
}

# The names of this host, which a certificate has beside the service's own when none are given, each once.
names_of_host() {
  {
    # shellcheck disable=SC2086 # several, between blanks
    if [[ -n ${TECHSAPO_TLS_NAMES:-} ]]; then printf '%s\n' $TECHSAPO_TLS_NAMES; else { hostname; hostname --fqdn || true; } 2>/dev/null; fi
    printf '%s\n' localhost 127.0.0.1 ::1
  } | awk '!seen[$0]++'
}

# --- reading --------------------------------------------------------------------------------------------------------

# Whom to trust is always said below. By default `openssl x509` reads all of the system's authorities at each call, for nothing, and that
# takes ten times as long as the rest.
openssl() { SSL_CERT_FILE=/dev/null command openssl "$@"; }

# Seconds since 1970 at which a certificate begins and ends to be valid.
not_before() { date_of "$1" startdate; }
not_after() { date_of "$1" enddate; }
date_of() {
  local text
  text=$(openssl x509 -in "$1" -noout "-$2" 2>/dev/null) && date -d "${text#*=}" +%s
}

common_name() { openssl x509 -in "$1" -noout -nameopt multiline "-$2" | sed -n 's/^ *commonName *= //p'; }

# The names and addresses of a certificate, a line each.
names_of() {
  openssl x509 -in "$1" -noout -ext subjectAltName 2>/dev/null | sed -n '2,$p' | tr ',' '\n' |
    sed -n -e 's/^ *DNS://p' -e 's/^ *IP Address://p'
}

# When a certificate is to be renewed: two thirds of its life are over.
due_at() {
  local from until
  from=$(not_before "$1") && until=$(not_after "$1") || return
  printf '%s' $((from + (until - from) * 2 / 3))
}

public_key_of_certificate() { openssl x509 -in "$1" -noout -pubkey 2>/dev/null </dev/null; }
public_key_of_key() { openssl pkey -in "$1" -pubout -passin pass: 2>/dev/null </dev/null; }

# made_by CERTIFICATE AUTHORITIES: one of them signed it, may it still be valid or not.
made_by() { openssl verify -no-CApath -no-CAstore -no_check_time -CAfile "$2" -untrusted "$1" "$1" >/dev/null 2>&1; }

# Every service that has a certificate.
services() {
  local home
  for home in "$SERVICES_DIR"/*/; do
    if [[ -L ${home}current ]]; then basename "$home"; fi
  done
}

current() { printf '%s/%s/current' "$SERVICES_DIR" "$1"; }

# check_settings: the commands in the settings' file run as who runs the script, so nobody else may write it.
check_settings() {
  local owner mode
  [[ -e $SETTINGS ]] || return 0
  read -r owner mode < <(stat -L -c '%u %a' "$SETTINGS")
  if [[ $owner != 0 && $owner != "$EUID" ]] || ((0$mode & 022)); then
    die "$SETTINGS holds commands, and somebody else may write it. Do: chown root $SETTINGS; chmod 644 $SETTINGS"
  fi
  if grep -Evn '^[[:blank:]]*(#|$|(reload|issue|authorities)[[:blank:]]+[a-z0-9-]+[[:blank:]]+[^[:blank:]])' "$SETTINGS" >&2; then
    die "these lines of $SETTINGS are not understood. A line is: reload|issue|authorities NAME VALUE"
  fi
}

# setting KIND NAME: what the settings' file says, or nothing.
setting() {
  [[ -e $SETTINGS ]] || return 0
  sed -n "s/^[[:blank:]]*$1[[:blank:]]\{1,\}$2[[:blank:]]\{1,\}//p" "$SETTINGS" | head -n 1
}

# The authorities that a service's certificate may come from.
authorities_of() {
  local file
  file=$(setting authorities "$1")
  if [[ -n $file ]]; then
    printf '%s' "$file"
  elif [[ -n $(setting issue "$1") ]]; then
    printf '%s' "$AUTHORITIES_OF_SYSTEM"
  else
    printf '%s' "$TLS_DIR/ca.crt"
  fi
}

# --- verifying ------------------------------------------------------------------------------------------------------

# problem CERTIFICATE KEY AUTHORITIES [NAME…]: what is wrong with a pair, in one line; nothing if all is well. It must have these names.
problem() {
  local certificate=$1 key=$2 authorities=$3 said purpose name names
  local -a purposes=(sslserver)
  shift 3
  # Everyone here is server and client; a public authority's certificate is a server's.
  if [[ $authorities == "$TLS_DIR/ca.crt" ]]; then purposes+=(sslclient); fi
  openssl x509 -in "$certificate" -noout >/dev/null 2>&1 || { say "no certificate can be read in it"; return; }
  [[ -n $(public_key_of_key "$key") ]] || { say "no private key can be read in it"; return; }
  [[ $(public_key_of_certificate "$certificate") == "$(public_key_of_key "$key")" ]] || { say "the key does not fit"; return; }
  for purpose in "${purposes[@]}"; do
    said=$(openssl verify -no-CApath -no-CAstore -CAfile "$authorities" -untrusted "$certificate" -purpose "$purpose" \
      "$certificate" 2>&1) && continue
    said=$(sed -n 's/^error [0-9]* at [0-9]* depth lookup: *//p' <<<"$said" | head -n 1)
    say "not to be trusted: ${said:-$authorities cannot be read}"
    return
  done
  names=$(names_of "$certificate")
  [[ -n $names ]] || { say "it has no name"; return; }
  for name in "$@"; do
    grep -Fqx -e "$name" <<<"$names" || { say "it lacks the name $name"; return; }
  done
  if is_open "$key"; then say "others may read or change its key"; fi
}

# is_open KEY: others than its owner and group may read it, or others than its owner change it.
is_open() { ((0$(stat -L -c %a "$1") & 027)); }

# problem_of NAME: the same of what a service uses.
problem_of() {
  local at authorities
  at=$(current "$1")
  authorities=$(authorities_of "$1")
  problem "$at/tls.crt" "$at/tls.key" "$authorities"
}

# --- making ---------------------------------------------------------------------------------------------------------

new_key() { (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null </dev/null); }

# seconds TIME: a time as `date` understands it, in seconds since 1970.
seconds() { date -d "$1" +%s 2>/dev/null || die "'$1' is no time that 'date -d' understands."; }

# sign KEY OUT SUBJECT FROM UNTIL EXTENSIONS [CA CA_KEY]: a certificate for KEY, signed by CA, or by itself. Times in seconds.
sign() {
  local key=$1 out=$2 subject=$3 from=$4 until=$5 extensions=$6 stamp=%Y%m%d%H%M%SZ said
  local -a by=(-selfsign -keyfile "$key")
  if (($# > 6)); then by=(-cert "$7" -keyfile "$8"); fi
  rm -rf "$WORK/signing"
  mkdir "$WORK/signing"
  : >"$WORK/signing/index"
  cat >"$WORK/signing/config" <<CONFIG
[ca]
default_ca = us
[us]
database = $WORK/signing/index
new_certs_dir = $WORK/signing
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
organizationName = optional
commonName = supplied
[req]
distinguished_name = none
[none]
[extensions]
$extensions
CONFIG
  said=$(
    openssl req -new -config "$WORK/signing/config" -key "$key" -subj "$subject" -out "$WORK/signing/request" 2>&1 </dev/null &&
      openssl ca -batch -notext -config "$WORK/signing/config" -extensions extensions "${by[@]}" \
        -in "$WORK/signing/request" -startdate "$(date -u -d "@$from" "+$stamp")" -enddate "$(date -u -d "@$until" "+$stamp")" \
        -out "$out" 2>&1 </dev/null
  ) || { say "OpenSSL did not sign: $(grep -v '^Using configuration' <<<"$said" | tail -n 2 | tr '\n' ' ')"; return 1; }
}

# make_authority KEY OUT DAYS CONSTRAINTS: CONSTRAINTS is what names it may sign, or nothing.
make_authority() {
  local now constraints=''
  now=$(date +%s)
  if [[ -n $4 ]]; then constraints="nameConstraints = critical,$4"; fi
  new_key "$1" || return
  # Each has a name of its own, so that two that are trusted at a time are told apart.
  sign "$1" "$2" "/O=TechSapo/CN=TechSapo CA $(date -u +%F) $(openssl rand -hex 2)" $((now - CLOCK_SKEW_SECONDS)) \
    $((now - CLOCK_SKEW_SECONDS + $3 * 86400)) "basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
$constraints"
}

# The authority in ca.crt that ca.key belongs to, as a file.
signing_authority() {
  local file wanted
  wanted=$(public_key_of_key "$TLS_DIR/ca.key") || { say "$TLS_DIR/ca.key cannot be read"; return 1; }
  rm -f "$WORK"/authority.*
  awk -v to="$WORK/authority." '/^-----BEGIN CERTIFICATE-----$/ { number++ } number { print > (to number) }' "$TLS_DIR/ca.crt"
  for file in "$WORK"/authority.*; do
    if [[ $(public_key_of_certificate "$file") == "$wanted" ]]; then
      say "$file"
      return
    fi
  done
  say "$TLS_DIR/ca.key belongs to no authority in $TLS_DIR/ca.crt"
  return 1
}

# make_pair NAME FOLDER FROM UNTIL NAMES…: FOLDER/tls.crt of our own authority, for the key that is in FOLDER already or a new one.
# Says why not and fails.
make_pair() {
  local name=$1 folder=$2 from=$3 until=$4 authority alternatives end
  shift 4
  alternatives=$(alternative "$@") || { say "$alternatives"; return 1; }
  authority=$(signing_authority) || { say "$authority"; return 1; }
  end=$(not_after "$authority")
  # Nothing outlives who answers for it.
  if ((until > end)); then until=$end; fi
  [[ -e $folder/tls.key ]] || new_key "$folder/tls.key" || { say "OpenSSL made no key"; return 1; }
  sign "$folder/tls.key" "$folder/tls.crt" "/O=TechSapo/CN=$name" "$from" "$until" "basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $alternatives" "$authority" "$TLS_DIR/ca.key"
}

# new_pair NAME: an empty folder to make a pair in.
new_pair() {
  rm -rf "$WORK/pair"
  mkdir "$WORK/pair"
  printf '%s' "$WORK/pair"
}

# --- putting in place -----------------------------------------------------------------------------------------------

# replace FILE: what comes on stdin becomes FILE, readable by all, in one rename.
replace() {
  local new
  new=$(mktemp "$(dirname "$1")/.new.XXXXXX") || return
  cat >"$new" && chmod 644 "$new" && sync "$new" && mv -fT "$new" "$1"
}

# trust FILE: what is in it becomes what everyone trusts.
trust() {
  local home
  replace "$TLS_DIR/ca.crt" <"$1" || return
  for home in "$SERVICES_DIR"/*/; do
    if [[ -d $home ]]; then replace "${home}ca.crt" <"$1" || return; fi
  done
}

# links NAME: where its servers look for it, and what stands there: a link, its target, and which of the two files it is.
links() {
  printf '%s\t%s\t%s\n' "$TLS_DIR/$1.crt" "services/$1/current/tls.crt" tls.crt "$TLS_DIR/$1.key" "services/$1/current/tls.key" tls.key
  if [[ $1 == "$PUBLIC" && -n $PUBLIC_CERTIFICATE && -n $PUBLIC_KEY ]]; then
    printf '%s\t%s\t%s\n' "$PUBLIC_CERTIFICATE" "$TLS_DIR/$1.crt" tls.crt "$PUBLIC_KEY" "$TLS_DIR/$1.key" tls.key
  fi
}

# may_link NAME PAIR: nothing stands there that somebody else put there, unless it is the very same. Says what does, and fails.
may_link() {
  local link target file
  while IFS=$'\t' read -r link target file; do
    if [[ ! -e $link && ! -L $link || $(readlink "$link") == "$target" ]] || cmp -s "$link" "$2/$file"; then continue; fi
    say "$link was not made by these scripts; './scripts/certificates.sh install' takes it over"
    return 1
  done < <(links "$1")
}

link_all() {
  local link target
  while IFS=$'\t' read -r link target _; do
    [[ $(readlink "$link") != "$target" ]] || continue
    [[ -d ${link%/*} ]] || mkdir -p "${link%/*}" || return
    rm -f "$link.new"
    ln -s "$target" "$link.new" && mv -fT "$link.new" "$link" || return
  done < <(links "$1")
}

# publish NAME FOLDER GROUP: FOLDER's pair, which was verified, becomes what the service reads, in one rename. GROUP may read the
# key; without one its owner alone. Says why not and fails.
publish() {
  local name=$1 pair=$2 group=$3 home=$SERVICES_DIR/$1 last generation old
  chmod 755 "$pair" && chmod 644 "$pair/tls.crt" && chmod 600 "$pair/tls.key" || return
  if [[ -n $group ]]; then
    { chgrp "$group" "$pair/tls.key" && chmod 640 "$pair/tls.key"; } 2>/dev/null || { say "the key cannot be given to the group $group"; return 1; }
  fi
  may_link "$name" "$pair" && sync "$pair/tls.crt" "$pair/tls.key" || return
  { mkdir -p "$home" && replace "$home/ca.crt" <"$TLS_DIR/ca.crt"; } || { say "$home cannot be written"; return 1; }
  last=$(find "$home" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' -printf '%f\n' | sort -n | tail -n 1)
  generation=$((${last:-0} + 1))
  mv -T "$pair" "$home/$generation" && rm -f "$home/current.new" && ln -s "$generation" "$home/current.new" || return
  # Now: before this a reader gets the generation before, after it this one.
  mv -fT "$home/current.new" "$home/current" && sync "$home" || return
  link_all "$name" || return
  for old in "$home"/[0-9]*; do
    if ((${old##*/} <= generation - GENERATIONS)); then rm -rf "$old"; fi
  done
}

# group_of NAME: who beside its owner may read a service's key, or nothing.
group_of() {
  local mode group
  read -r mode group < <(stat -L -c '%a %G' "$(current "$1")/tls.key" 2>/dev/null) || return 0
  if ((0$mode & 040)); then printf '%s' "$group"; fi
}

# needs_new_key NAME: its key is of no use, perhaps known to others, or older than a key should become.
needs_new_key() {
  local key
  key=$(current "$1")/tls.key
  [[ -z $(public_key_of_key "$key") ]] || is_open "$key" || (($(date +%s) - $(stat -L -c %Y "$key") > KEY_DAYS * 86400))
}

# keep_key NAME FOLDER: FOLDER gets the key that the service has.
keep_key() { cp -p "$(current "$1")/tls.key" "$2/tls.key"; }
