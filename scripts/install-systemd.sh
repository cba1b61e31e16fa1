#!/usr/bin/env bash
# Installs both programs as services of systemd, or removes them. `--help` tells what goes where.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<'HELP'
Installs techsapo and techsapo-exporter as services of systemd. Again after an upgrade: what was changed in /etc/techsapo stays.

  ./scripts/install-systemd.sh               install, or install a later version
  ./scripts/install-systemd.sh --uninstall   stop the services and remove them; settings and data stay
  ./scripts/install-systemd.sh --help        this text

  /usr/local/bin/                        the programs, from TECHSAPO_BIN_DIR (target/release)
  /etc/systemd/system/                   techsapo.service, techsapo@.service (several apps on one host), techsapo-exporter.service
  /etc/techsapo/                         techsapo.toml and providers.toml, if there are none
  /etc/techsapo/credentials/redis-url    redis://127.0.0.1:6379, if there is none; for root alone
  /usr/local/lib/sysusers.d/             the users techsapo and techsapo-exporter

Nothing is started. Then: systemctl enable --now techsapo techsapo-exporter
HELP
}

BIN_DIR=$(realpath -m "${TECHSAPO_BIN_DIR:-${CARGO_TARGET_DIR:-$ROOT/target}/release}")
UNITS=(techsapo.service techsapo@.service techsapo-exporter.service)
PROGRAMS=(techsapo techsapo-exporter)

install_all() {
  local program unit file
  for program in "${PROGRAMS[@]}"; do
    [[ -x $BIN_DIR/$program ]] || die "there is no program $BIN_DIR/$program. Build it (cargo build --release), or name its folder: TECHSAPO_BIN_DIR=… $0"
  done
  for program in "${PROGRAMS[@]}"; do
    # Beside it first: a program that runs cannot be written to, and a half one must never be started.
    install -m 755 "$BIN_DIR/$program" "/usr/local/bin/.$program.new"
    mv -f "/usr/local/bin/.$program.new" "/usr/local/bin/$program"
  done
  install -d -m 755 /etc/techsapo
  install -d -m 700 /etc/techsapo/credentials
  for file in techsapo.toml providers.toml; do
    [[ -e /etc/techsapo/$file ]] || install -m 644 "$ROOT/config/$file" "/etc/techsapo/$file"
  done
  if [[ ! -e /etc/techsapo/credentials/redis-url ]]; then
    (umask 077 && echo redis://127.0.0.1:6379 >/etc/techsapo/credentials/redis-url)
  fi
  install -D -m 644 "$ROOT/systemd/techsapo.sysusers" /usr/local/lib/sysusers.d/techsapo.conf
  systemd-sysusers /usr/local/lib/sysusers.d/techsapo.conf
  for unit in "${UNITS[@]}"; do install -m 644 "$ROOT/systemd/$unit" "/etc/systemd/system/$unit"; done
  systemctl daemon-reload
  say "Installed. To start now and at every boot: systemctl enable --now techsapo techsapo-exporter
After an upgrade: systemctl restart techsapo-exporter techsapo"
}

uninstall() {
  local unit program
  local -a running
  mapfile -t running < <(systemctl list-units --all --plain --no-legend 'techsapo.service' 'techsapo@*.service' 'techsapo-exporter.service' | cut -d ' ' -f 1)
  # The apps first: they hand over what they hold.
  for unit in "${running[@]}"; do [[ $unit == techsapo-exporter.service ]] || systemctl disable --now "$unit"; done
  systemctl disable --now techsapo-exporter.service 2>/dev/null || true
  for unit in "${UNITS[@]}"; do rm -f "/etc/systemd/system/$unit"; done
  for program in "${PROGRAMS[@]}"; do rm -f "/usr/local/bin/$program"; done
  rm -f /usr/local/lib/sysusers.d/techsapo.conf
  systemctl daemon-reload
  say "Removed. Settings (/etc/techsapo), data (/var/lib/techsapo, /var/lib/techsapo-exporter) and the users stay; they are yours to delete."
}

main() {
  case ${1:-} in
    -h | --help) usage && return ;;
    '' | --uninstall) ;;
    *) die "unknown option '$1'. See: $0 --help" ;;
  esac
  ((EUID == 0)) || die "only root can do this. As root, run: $0 $*"
  have systemctl || die "there is no systemd on this machine; docs/native.md knows PM2 as well."
  if [[ ${1:-} == --uninstall ]]; then uninstall; else install_all; fi
}

main "$@"
