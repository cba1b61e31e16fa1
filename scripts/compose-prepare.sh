#!/usr/bin/env bash
# Makes what docker-compose.yml needs beside itself: secrets, and the configurations that differ between containers and a host.
# `--help` tells what, and where.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/render.sh
source "$ROOT/scripts/lib/render.sh"

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
  redis-users, redis-url, mysql-url    written anew from these each time
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
TEMPLATES_INSIDE=/etc/techsapo/templates
ALERT_SECRETS_INSIDE=/etc/alertmanager/secrets

# private_folder FOLDER: it exists, and nobody else on this host gets at what is in it. That may then be readable by all: the
# containers' users, whose numbers are nobody's here, read what is mounted from it.
private_folder() {
  { mkdir -p "$1" && chmod 700 "$1"; } 2>/dev/null || die "cannot make the folder $1, or it is not ours (as $(id -un))."
}

# put FILE: what comes on stdin, in one step.
put() {
  cat >"$1.new" || die "cannot write $1 (as $(id -un))."
  chmod 644 "$1.new"
  mv -f "$1.new" "$1"
}

random() { od -An -N 24 -tx1 /dev/urandom | tr -d ' \n'; }

# secret NAME [VALUE]: makes the secret if it is missing, at random if there is no value for it.
secret() {
  local file=$SECRETS/$1
  # Without its file Docker makes an empty folder of that name.
  if [[ -d $file ]]; then rmdir "$file" 2>/dev/null || die "$file is a folder; a file is expected."; fi
  if [[ -s $file ]]; then
    [[ $(wc -l <"$file") -le 1 ]] || die "$file holds more than one line."
    chmod 644 "$file"
    return
  fi
  printf '%s' "${2:-$(random)}" | put "$file"
  note "made secrets/compose/$1"
}

value_of() { tr -d '\n' <"$SECRETS/$1"; }

# A password as it stands in a URL.
escaped() {
  local text=$1 sign index
  for ((index = 0; index < ${#text}; index++)); do
    sign=${text:index:1}
    case $sign in
      [a-zA-Z0-9._~-]) printf '%s' "$sign" ;;
      *) printf '%s' "$sign" | od -An -tx1 | tr -d '\n' | sed 's/ /%/g' ;;
    esac
  done
}

# What the app and the exporter may do: everything with their own keys, nothing with the server but ask how it is.
redis_users() {
  local digest
  digest=$(value_of redis-password | sha256sum | cut -d ' ' -f 1)
  printf 'user default off\n'
  printf 'user health on nopass +ping\n'
  printf 'user techsapo on #%s ~techsapo:* +@all -@admin -@dangerous +info\n' "$digest"
}

make_secrets() {
  private_folder "$ROOT/secrets"
  private_folder "$SECRETS"
  mkdir -p "$SECRETS/providers"
  chmod -R a+rX "$SECRETS/providers"
  secret redis-password
  secret mysql-password
  secret mysql-root-password
  secret grafana-admin-password "${TECHSAPO_GRAFANA_PASSWORD:-}"
  redis_users | put "$SECRETS/redis-users"
  printf 'redis://techsapo:%s@redis:6379' "$(escaped "$(value_of redis-password)")" | put "$SECRETS/redis-url"
  printf 'mysql://techsapo:%s@mysql:3306/techsapo_audit' "$(escaped "$(value_of mysql-password)")" | put "$SECRETS/mysql-url"
}

write_configuration() {
  private_folder "$CONFIGURATION"
  mkdir -p "$CONFIGURATION"/{prometheus,alertmanager/secrets}
  # Prometheus itself is at home where it is.
  render_prometheus "$RULES_INSIDE" exporter=exporter:10040 node-exporter=node-exporter:9100 alertmanager=alertmanager:9093 \
    long-term-store=long-term-store:8428 | put "$CONFIGURATION/prometheus/prometheus.yml"
  # Copies, for a folder of somebody's own stays as closed as it is.
  rm -f "$CONFIGURATION/alertmanager/secrets"/*
  if [[ -d $ALERT_SECRETS ]]; then
    find "$ALERT_SECRETS" -maxdepth 1 -type f -exec cp {} "$CONFIGURATION/alertmanager/secrets/" \; ||
      die "$ALERT_SECRETS cannot be read (as $(id -un))."
  fi
  "$ROOT/scripts/alertmanager-config.sh" --secrets-at "$ALERT_SECRETS_INSIDE" --templates-at "$TEMPLATES_INSIDE" \
    "$ALERT_SECRETS" "$CONFIGURATION/alertmanager/alertmanager.yml"
  chmod -R a+rX "$CONFIGURATION"/{prometheus,alertmanager}
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
