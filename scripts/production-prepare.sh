#!/usr/bin/env bash
# Makes what docker/production/docker-compose.prod.yml needs beside itself, and brings renewed certificates to what runs. `--help` tells
# more.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/secrets.sh
source "$ROOT/scripts/lib/secrets.sh"

usage() {
  cat <<'HELP'
Makes what docker/production/docker-compose.prod.yml needs beside itself. Safe to call again at any time: what is there stays.

  ./scripts/certificates.sh init             once: our own authority
  ./scripts/production-prepare.sh            then: docker-compose -f docker/production/docker-compose.prod.yml up -d
  ./scripts/production-prepare.sh --certificates
                                             copies renewed certificates to the containers, and tells those that do not look by themselves
  ./scripts/production-prepare.sh --help     this text

secrets/production/         readable on this host by its owner alone; each container is given only its own files
  *-password, grafana-secret-key    made if missing; Redis and MySQL have a user for each purpose
  providers/                for keys of vendors: a file each, named in .env (docker/production/production.env.example)
  redis-0, redis-1, redis-users, redis-url, sentinel-0 to -2, sentinel-users, mysql-url, mysql-owner-url    written anew from these each time
  backup-redis-url, backup-mysql-url    for scripts/backup.sh on this host (docs/backup.md), likewise
run/production/             (or TECHSAPO_PRODUCTION_DIR)
  prometheus-0/, prometheus-1/, alertmanager/, mysql/    configurations, and the users that MySQL begins with
  tls/SERVICE/              ca.crt, and the certificate and the key of that service alone
/etc/ssl/techsapo/          (or TECHSAPO_TLS_DIR) where certificates come from. Those that are missing or lack a name are issued, if
                            the authority's key is there
/etc/ssl/certs/techsapo.crt, /etc/ssl/private/techsapo.key    what nginx shows the world (TECHSAPO_PUBLIC_CERTIFICATE, TECHSAPO_PUBLIC_KEY)

Needs root, for keys are root's. After a renewal --certificates is to be called; in /etc/ssl/techsapo/renewal.conf, for each service:

  reload redis /opt/techsapo/scripts/production-prepare.sh --certificates
HELP
}

SECRETS=$ROOT/secrets/production
OUTPUT=$(realpath -m "${TECHSAPO_PRODUCTION_DIR:-$ROOT/run/production}")
ALERT_SECRETS=$(realpath -m "${TECHSAPO_ALERT_SECRETS:-$ROOT/secrets/alertmanager}")
TLS_DIR=$(realpath -m "${TECHSAPO_TLS_DIR:-/etc/ssl/techsapo}")
PUBLIC_CERTIFICATE=${TECHSAPO_PUBLIC_CERTIFICATE:-/etc/ssl/certs/techsapo.crt}
PUBLIC_KEY=${TECHSAPO_PUBLIC_KEY:-/etc/ssl/private/techsapo.key}
SOURCE=$ROOT/docker/production
PROJECT=${COMPOSE_PROJECT_NAME:-production}
# How long a container may take until it is healthy again. renew-certificates.sh waits for all that are started again (COMMAND_SECONDS).
HEALTHY_SECONDS=120

# Whose certificates each folder of run/production/tls holds.
declare -A LEAVES=([app]=app [exporter]=exporter [redis]=redis [prometheus]=prometheus [alertmanager]=alertmanager
  [node-exporter]=node-exporter [grafana]=grafana [mysql]=mysql [nginx]=nginx [gate]='gate long-term-store grafana')
# By which names each is asked.
declare -A NAMES=([app]='app app-0 app-1 app-2' [exporter]='exporter exporter-0 exporter-1' [node-exporter]=node-exporter
  [redis]='redis-0 redis-1 sentinel-0 sentinel-1 sentinel-2' [prometheus]='prometheus prometheus-0 prometheus-1'
  [alertmanager]='alertmanager alertmanager-0 alertmanager-1 alertmanager-2' [grafana]=grafana [mysql]=mysql
  [long-term-store]=long-term-store [nginx]=nginx [gate]='gate prometheus exporter alertmanager'
  # Shown by the scripts of the backup, on this host: no container has it.
  [backup]=backup)

# --- secrets --------------------------------------------------------------------------------------------------------

# Everybody may do what they are for, and nothing else. The operator takes new certificates in.
redis_users() {
  printf 'user default off\n'
  printf 'user health on nopass +ping\n'
  printf 'user techsapo on #%s ~techsapo:* +@all -@admin -@dangerous +info +role\n' "$(digest_of redis-password)"
  printf 'user replication on #%s +psync +replconf +ping\n' "$(digest_of redis-replication-password)"
  printf 'user sentinel on #%s &__sentinel__:hello +multi +exec +ping +info +role +subscribe +publish +slaveof +config|rewrite' \
    "$(digest_of redis-sentinel-password)"
  printf ' +client|setname +client|kill +script|kill\n'
  printf 'user operator on #%s +config|set +ping\n' "$(digest_of redis-operator-password)"
  redis_backup_user
}

sentinel_users() {
  printf 'user default off\n'
  printf 'user health on nopass +ping\n'
  printf 'user techsapo on #%s +sentinel|get-master-addr-by-name +ping\n' "$(digest_of sentinel-password)"
  printf 'user sentinel on #%s &__sentinel__:hello +sentinel +ping +info +publish +subscribe +client|setname\n' \
    "$(digest_of redis-sentinel-password)"
}

redis_configuration() {
  cat "$SOURCE/redis/redis.conf"
  printf 'replica-announce-ip redis-%s\n' "$1"
  printf 'masteruser replication\nmasterauth %s\n' "$(value_of redis-replication-password)"
  # At first; later the sentinels decide.
  if [[ $1 == 1 ]]; then printf 'replicaof redis-0 6379\n'; fi
}

sentinel_configuration() {
  local password
  password=$(value_of redis-sentinel-password)
  cat "$SOURCE/redis/sentinel.conf"
  printf 'sentinel announce-ip sentinel-%s\n' "$1"
  printf 'aclfile /run/secrets/sentinel-users\n'
  printf 'sentinel auth-user techsapo sentinel\nsentinel auth-pass techsapo %s\n' "$password"
  printf 'sentinel sentinel-user sentinel\nsentinel sentinel-pass %s\n' "$password"
}

# mysql_user NAME SECRET: if he is missing; his rights follow.
mysql_user() { printf "CREATE USER IF NOT EXISTS '%s'@'%%' IDENTIFIED BY '%s' REQUIRE X509;\n" "$1" "$(value_of "$2")"; }

# Run by MySQL's image when it makes its database, and by who adds a user to one that is there (docs/backup.md). The app changes no row
# that stands; its tables are changed by their owner. A dump of the audit, which has neither views nor triggers, takes no more than reading.
mysql_users() {
  echo 'CREATE DATABASE IF NOT EXISTS grafana;'
  mysql_user techsapo mysql-password
  echo "GRANT SELECT, INSERT, UPDATE ON techsapo_audit.* TO 'techsapo'@'%';"
  mysql_user techsapo-owner mysql-owner-password
  echo "GRANT ALL ON techsapo_audit.* TO 'techsapo-owner'@'%';"
  mysql_user grafana mysql-grafana-password
  echo "GRANT ALL ON grafana.* TO 'grafana'@'%';"
  mysql_user backup mysql-backup-password
  echo "GRANT SELECT ON techsapo_audit.* TO 'backup'@'%';"
}

# mysql_url USER SECRET
mysql_url() { printf 'mysql://%s:%s@mysql:3306/techsapo_audit?require_ssl=true' "$1" "$(escaped "$(value_of "$2")")"; }

make_secrets() {
  local name
  private_folder "$ROOT/secrets"
  private_folder "$SECRETS"
  mkdir -p "$SECRETS/providers"
  chmod -R a+rX "$SECRETS/providers"
  for name in redis redis-replication redis-sentinel redis-operator redis-backup sentinel mysql mysql-owner mysql-grafana mysql-backup mysql-root; do
    secret "$name-password"
    [[ $(value_of "$name-password") =~ ^[A-Za-z0-9._~-]+$ ]] ||
      die "$SECRETS/$name-password stands in configurations: letters, digits, dot, hyphen, underscore and tilde alone."
  done
  secret grafana-admin-password "${TECHSAPO_GRAFANA_PASSWORD:-}"
  secret grafana-secret-key
  redis_users | put "$SECRETS/redis-users"
  sentinel_users | put "$SECRETS/sentinel-users"
  redis_configuration 0 | put "$SECRETS/redis-0"
  redis_configuration 1 | put "$SECRETS/redis-1"
  for name in 0 1 2; do sentinel_configuration "$name" | put "$SECRETS/sentinel-$name"; done
  printf 'rediss+sentinel://techsapo:%s@sentinel-0,sentinel-1,sentinel-2/techsapo?sentinel_username=techsapo&sentinel_password=%s' \
    "$(value_of redis-password)" "$(value_of sentinel-password)" | put "$SECRETS/redis-url"
  mysql_url techsapo mysql-password | put "$SECRETS/mysql-url"
  mysql_url techsapo-owner mysql-owner-password | put "$SECRETS/mysql-owner-url"
  printf 'rediss://backup:%s@redis-0,redis-1' "$(value_of redis-backup-password)" | put "$SECRETS/backup-redis-url"
  mysql_url backup mysql-backup-password | put "$SECRETS/backup-mysql-url"
}

# --- configurations -------------------------------------------------------------------------------------------------

write_configuration() {
  local number
  mkdir -p "$OUTPUT"/{prometheus-0,prometheus-1,mysql}
  for number in 0 1; do
    sed -e "s#^  - rules/#  - /etc/techsapo/rules/#" -e "s/^    replica: .*/    replica: \"$number\"/" "$SOURCE/prometheus.yml" |
      put "$OUTPUT/prometheus-$number/prometheus.yml"
  done
  mysql_users | put "$OUTPUT/mysql/users.sql"
  chmod -R a+rX "$OUTPUT"/{prometheus-0,prometheus-1,mysql}
  alertmanager_configuration "$OUTPUT/alertmanager" "$ALERT_SECRETS"
}

# --- certificates ---------------------------------------------------------------------------------------------------

# lacks_a_name FILE NAME…: whether the certificate is not for all of these.
lacks_a_name() {
  local name
  for name in "${@:2}"; do
    if openssl x509 -in "$1" -noout -checkhost "$name" 2>/dev/null | grep -q 'does NOT match'; then return; fi
  done
  return 1
}

# Issues what is missing, and what lacks a name that it is asked by.
issue_certificates() {
  local name
  local -a names=()
  [[ -r $TLS_DIR/ca.crt ]] || die "there is no authority in $TLS_DIR (as $(id -un)). Make one: ./scripts/certificates.sh init"
  for name in "${!NAMES[@]}"; do
    read -r -a names <<<"${NAMES[$name]}"
    if [[ -s $TLS_DIR/$name.crt ]] && ! lacks_a_name "$TLS_DIR/$name.crt" "${names[@]}"; then continue; fi
    [[ -r $TLS_DIR/ca.key ]] ||
      die "$TLS_DIR/$name.crt is missing or lacks a name, and the authority's key is missing. Names: ${NAMES[$name]} localhost 127.0.0.1"
    "$ROOT/scripts/certificates.sh" issue "$name" "${names[@]}" localhost 127.0.0.1
  done
  [[ -r $PUBLIC_CERTIFICATE && -r $PUBLIC_KEY ]] ||
    die "$PUBLIC_CERTIFICATE or $PUBLIC_KEY is missing: what nginx shows the world. Until it comes from an authority that browsers know:
  ./scripts/certificates.sh issue techsapo NAME-OF-THIS-SITE"
}

# carry FILE FOLDER NAME: FILE's content in FOLDER, in one step, if it is another.
carry() {
  cmp -s "$1" "$2/$3" && return
  put "$2/$3" <"$1"
}

carry_certificates() {
  local service name folder
  local -a leaves=()
  for service in "${!LEAVES[@]}"; do
    folder=$OUTPUT/tls/$service
    mkdir -p "$folder"
    carry "$TLS_DIR/ca.crt" "$folder" ca.crt
    read -r -a leaves <<<"${LEAVES[$service]}"
    for name in "${leaves[@]}"; do
      # The key first: it seldom changes, and who reads between the two finds the old pair or none that fits.
      carry "$TLS_DIR/$name.key" "$folder" "$name.key"
      carry "$TLS_DIR/$name.crt" "$folder" "$name.crt"
    done
  done
  mkdir -p "$OUTPUT"/tls/public/{certs,private}
  carry "$PUBLIC_KEY" "$OUTPUT/tls/public/private" techsapo.key
  carry "$PUBLIC_CERTIFICATE" "$OUTPUT/tls/public/certs" techsapo.crt
  chmod -R a+rX "$OUTPUT/tls"
}

# container SERVICE: its id, or nothing.
container() {
  docker ps --quiet --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$1"
}

# restart SERVICE: and wait until it is healthy, so that the next one may follow.
restart() {
  local id began=$SECONDS
  id=$(container "$1")
  [[ -n $id ]] || return 0
  docker restart "$id" >/dev/null
  until [[ $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]]; do
    ((SECONDS - began < HEALTHY_SECONDS)) || die "$1 is not healthy $HEALTHY_SECONDS s after its restart; no other was touched."
    sleep 1
  done
}

# in_container SERVICE SCRIPT: within it, if it runs.
in_container() {
  local id
  id=$(container "$1")
  [[ -n $id ]] || return 0
  docker exec "$id" sh -c "$2" >/dev/null || die "$1 did not take its new certificate in; it goes on with the old one."
}

# Prometheus, Node Exporter, the exporters and the apps look by themselves.
tell() {
  local service id files=/etc/ssl/techsapo/redis
  docker version >/dev/null 2>&1 || die "docker does not answer; the certificates are in place, and nobody was told."
  for service in nginx gate; do
    id=$(container "$service")
    if [[ -n $id ]]; then docker kill --signal HUP "$id" >/dev/null; fi
  done
  for service in redis-0 redis-1; do
    in_container "$service" "REDISCLI_AUTH=\$(cat /run/secrets/redis-operator-password) redis-cli --tls --cacert /etc/ssl/techsapo/ca.crt \
      --cert $files.crt --key $files.key --user operator --no-auth-warning \
      config set tls-cert-file $files.crt tls-key-file $files.key tls-ca-cert-file /etc/ssl/techsapo/ca.crt | grep -q OK"
  done
  in_container mysql "MYSQL_PWD=\$(cat /run/secrets/mysql-root-password) mysql --user=root --execute='ALTER INSTANCE RELOAD TLS'"
  # These cannot be told; one after the other nobody misses them. A sentinel takes no setting of TLS while it runs; the Alertmanagers look
  # by themselves for all but the authorities that they know one another by, and Grafana for all but its certificate for MySQL. One that does
  # not become healthy keeps those behind it waiting, hence the sentinels come first: without them no Redis takes another's place.
  for service in sentinel-0 sentinel-1 sentinel-2 alertmanager-0 alertmanager-1 alertmanager-2 grafana-0 grafana-1; do restart "$service"; done
}

main() {
  case ${1:-} in
    -h | --help)
      usage
      return
      ;;
    '' | --certificates) ;;
    *) die "unknown argument '$1'. See: $0 --help" ;;
  esac
  private_folder "$(dirname "$OUTPUT")"
  private_folder "$OUTPUT"
  if [[ ${1:-} == --certificates ]]; then
    carry_certificates
    tell
    return
  fi
  make_secrets
  write_configuration
  issue_certificates
  carry_certificates
}

main "$@"
