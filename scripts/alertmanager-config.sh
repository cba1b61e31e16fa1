#!/usr/bin/env bash
# Writes Alertmanager's configuration: alertmanager/alertmanager.yml with the receivers for which there are secrets.
# `--help` tells which.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'HELP'
Writes Alertmanager's configuration with the receivers for which it finds secrets. Without any, nobody is notified.

  ./scripts/alertmanager-config.sh [OPTIONS] FOLDER FILE    read the secrets in FOLDER (it may be missing), write FILE

  --secrets-at FOLDER      where Alertmanager will find them, if not where they are: in a container
  --templates-at FOLDER    the same for alertmanager/templates

Each file of FOLDER holds one value:

  slack-url           incoming webhook of Slack
  pagerduty-key       integration key of PagerDuty (Events API v2): P0 and P1
  webhook-url         takes Alertmanager's JSON: a bridge to another chat, an incident tool
  webhook-token       for it, sent as Authorization: Bearer (may be missing)
  mail-to             addresses, with commas between them
  mail-from           sender
  mail-smarthost      host:port of the mail server; it must speak TLS
  mail-user           user there (may be missing, then nobody logs in)
  mail-password       password there
  watchdog-url        dead man's switch: called every minute while alerting works

Alertmanager reads slack-url, pagerduty-key, webhook-token and mail-password from FOLDER itself. The URLs of webhooks are written
into FILE, which only its owner may read.
HELP
}

SECRETS=(slack-url pagerduty-key webhook-url webhook-token mail-to mail-from mail-smarthost mail-user mail-password watchdog-url)

# has NAME…: every one of these secrets is there.
has() {
  local name
  for name in "$@"; do [[ -s $FOLDER/$name ]] || return 1; done
}

# value NAME: a secret, as YAML in single quotes.
value() {
  local text
  text=$(<"$FOLDER/$1")
  printf "'%s'" "${text//\'/\'\'}"
}

# path NAME: where Alertmanager finds a secret, as YAML in single quotes.
path() { printf "'%s'" "${SEEN_AT//\'/\'\'}/$1"; }

# What is there can be used.
check_secrets() {
  local name text
  for name in "${SECRETS[@]}"; do
    has "$name" || continue
    text=$(cat "$FOLDER/$name") || die "$FOLDER/$name cannot be read (as $(id -un))."
    [[ $text != *$'\n'* ]] || die "$FOLDER/$name holds more than one line."
  done
  if has mail-to && ! has mail-from mail-smarthost; then die "$FOLDER has mail-to, but lacks mail-from or mail-smarthost."; fi
  if has mail-user && ! has mail-password; then die "$FOLDER has mail-user, but lacks mail-password."; fi
}

webhook_of() {
  has webhook-url || return 0
  printf '    webhook_configs:\n      - url: %s\n' "$(value webhook-url)"
  has webhook-token || return 0
  printf '        http_config: { authorization: { credentials_file: %s } }\n' "$(path webhook-token)"
}

slack_of() {
  has slack-url || return 0
  cat <<YAML
    slack_configs:
      - api_url_file: $(path slack-url)
        send_resolved: true
        title: '{{ template "techsapo.title" . }}'
        title_link: '{{ .ExternalURL }}'
        text: '{{ template "techsapo.text" . }}'
        fallback: '{{ template "techsapo.title" . }}'
YAML
}

mail_of() {
  has mail-to || return 0
  cat <<YAML
    email_configs:
      - to: $(value mail-to)
        from: $(value mail-from)
        smarthost: $(value mail-smarthost)
        require_tls: true
        send_resolved: true
        headers: { Subject: '{{ template "techsapo.title" . }}' }
        text: '{{ template "techsapo.text" . }}'
        html: '{{ template "techsapo.html" . }}'
YAML
  has mail-user || return 0
  printf '        auth_username: %s\n        auth_password_file: %s\n' "$(value mail-user)" "$(path mail-password)"
}

pagerduty_of() {
  has pagerduty-key || return 0
  cat <<YAML
    pagerduty_configs:
      - routing_key_file: $(path pagerduty-key)
        severity: '{{ if eq .CommonLabels.priority "P0" }}critical{{ else }}error{{ end }}'
        description: '{{ template "techsapo.title" . }}'
        details: { text: '{{ template "techsapo.text" . }}' }
YAML
}

receivers() {
  local name
  for name in p0 p1 p2; do
    printf '  - name: %s\n' "$name"
    webhook_of
    slack_of
    mail_of
    # What may wait an hour wakes nobody.
    if [[ $name != p2 ]]; then pagerduty_of; fi
  done
  printf '  - name: watchdog\n'
  if has watchdog-url; then
    printf '    webhook_configs:\n      - url: %s\n        send_resolved: false\n' "$(value watchdog-url)"
  fi
}

main() {
  local templates=$ROOT/alertmanager/templates
  SEEN_AT=''
  while [[ ${1:-} == -* ]]; do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      --secrets-at) SEEN_AT=${2:-} ;;
      --templates-at) templates=${2:-} ;;
      *) die "unknown option '$1'. See: $0 --help" ;;
    esac
    shift 2 || die "$1 needs a folder. See: $0 --help"
  done
  (($# == 2)) || die "two arguments are needed: the folder of the secrets, and the file to write. See: $0 --help"
  FOLDER=$(realpath -m "$1")
  SEEN_AT=${SEEN_AT:-$FOLDER}
  local file=$2 written
  check_secrets
  umask 077
  # `receivers:` is the last section of the file; what stands below it is what we write anew.
  written=$(
    sed -e '/^receivers:$/q' -e "s#^  - templates/#  - $templates/#" "$ROOT/alertmanager/alertmanager.yml"
    receivers
  )
  printf '%s\n' "$written" >"$file.new"
  mv -f "$file.new" "$file"
}

main "$@"
