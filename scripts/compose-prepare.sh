#!/usr/bin/env bash
# Makes what docker-compose.yml needs beside itself: secrets, and the configurations that differ between containers and a host.
# `--help` tells what, and where.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/render.sh
source "$ROOT/scripts/lib/render.sh"
# shellcheck source-path=SCRIPTDIR source=lib/secrets.sh
source "$ROOT/scripts/lib/secrets.sh"

usage() {
  cat <<'HELP'
Makes what docker-compose.yml needs beside itself. Safe to call again at any time: what is there stays.

  ./scripts/compose-prepare.sh           then: docker-compose up -d
  ./scripts/compose-prepare.sh --help    this text

secrets/compose/            readable on this host by its owner alone; each container is given only its own files
  redis-password            made if missing, as the next three
  mysql-password
  mysql-root-password
  grafana-admin-password    from TECHSAPO_GRAFANA_PASSWORD if that is set when it is made
  providers/                for keys of vendors: a file each, named in .env (see .env.example)
  redis-backup-password     for scripts/backup.sh on this host, by the file backup-redis-url
  redis-users, redis-url, mysql-url, backup-redis-url    written anew from these each time
run/compose/                (or TECHSAPO_COMPOSE_DIR)
  prometheus/, alertmanager/    the configurations, with the names of the containers and the receivers for which there are
                                secrets (TECHSAPO_ALERT_SECRETS=secrets/alertmanager: see ./scripts/alertmanager-config.sh --help)

After a change of prometheus/ or alertmanager/: call this, then docker-compose kill -s HUP prometheus alertmanager
HELP
}

SECRETS=$ROOT/secrets/compose
CONFIGURATION=$(realpath -m "${TECHSAPO_COMPOSE_DIR:-$ROOT/run/compose}")
ALERT_SECRETS=$(realpath -m "${TECHSAPO_ALERT_SECRETS:-$ROOT/secrets/alertmanager}")
# As the containers see them.
RULES_INSIDE=/etc/techsapo/rules

# What the app and the exporter may do: everything with their own keys, nothing with the server but ask how it is.
redis_users() {
  printf 'user default off\n'
  printf 'user health on nopass +ping\n'
  printf 'user techsapo on #%s ~techsapo:* +@all -@admin -@dangerous +info\n' "$(digest_of redis-password)"
  redis_backup_user
}

make_secrets() {
  private_folder "$ROOT/secrets"
  private_folder "$SECRETS"
  mkdir -p "$SECRETS/providers"
  chmod -R a+rX "$SECRETS/providers"
  secret redis-password
  secret redis-backup-password
  secret mysql-password
  secret mysql-root-password
  secret grafana-admin-password "${TECHSAPO_GRAFANA_PASSWORD:-}"
  redis_users | put "$SECRETS/redis-users"
  printf 'redis://techsapo:%s@redis:6379' "$(escaped "$(value_of redis-password)")" | put "$SECRETS/redis-url"
  printf 'redis://backup:%s@127.0.0.1:%s' "$(value_of redis-backup-password)" "${TECHSAPO_PORT_REDIS:-6379}" | put "$SECRETS/backup-redis-url"
  printf 'mysql://techsapo:%s@mysql:3306/techsapo_audit' "$(escaped "$(value_of mysql-password)")" | put "$SECRETS/mysql-url"
}

write_configuration() {
  private_folder "$CONFIGURATION"
  mkdir -p "$CONFIGURATION/prometheus"
  # Prometheus itself is at home where it is.
  render_prometheus "$RULES_INSIDE" exporter=exporter:10040 node-exporter=node-exporter:9100 alertmanager=alertmanager:9093 \
    long-term-store=long-term-store:8428 | put "$CONFIGURATION/prometheus/prometheus.yml"
  chmod -R a+rX "$CONFIGURATION/prometheus"
  alertmanager_configuration "$CONFIGURATION/alertmanager" "$ALERT_SECRETS"
}

main() {
  case ${1:-} in
    -h | --help)
      usage
      return
      ;;
    '') ;;
    *) die "unknown argument '$1'. See: $0 --help" ;;
  esac
  make_secrets
  write_configuration
}

main "$@"
