#!/usr/bin/env bash
# Makes what the stand-ins of images are built from (tests/stand-ins/Dockerfile), from Debian's packages and this machine's Rust, and
# says in which folder it is. Made once, into the build's folder; needs root.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/stand-ins
SUITE=bookworm
# Where each archive's packages come from: a whole system, and programs with their libraries alone, which is quicker.
SLIM=(ca-certificates gcc libc6-dev make)
PROGRAMS=(busybox-static redis-server mariadb-server nginx prometheus-alertmanager prometheus-node-exporter victoria-metrics)

# joined NAME…: with commas between them.
joined() {
  local IFS=,
  echo "$*"
}

# archive NAME VARIANT PACKAGE…: NAME.tar with these packages, unless it has them already.
archive() {
  local name=$1 variant=$2
  shift 2
  [[ -s $FOLDER/$name.tar && $(cat "$FOLDER/$name.packages" 2>/dev/null) == "$*" ]] && return
  mmdebstrap --quiet --variant="$variant" --include="$(joined "$@")" "$SUITE" "$FOLDER/$name.new.tar" "$(debian_mirror)" >&2
  mv -f "$FOLDER/$name.new.tar" "$FOLDER/$name.tar"
  echo "$*" >"$FOLDER/$name.packages"
}

# The compiler and its standard library, without documentation; and what this machine trusts.
rust() {
  local sysroot host tree=$FOLDER/rust
  [[ -s $FOLDER/rust.tar ]] && return
  sysroot=$(rustc --print sysroot)
  host=$(rustc --version --verbose | sed -n 's/^host: //p')
  rm -rf "$tree"
  mkdir -p "$tree"/{bin,lib/rustlib,cargo}
  cp "$sysroot"/bin/{rustc,cargo} "$tree/bin/"
  cp "$sysroot"/lib/*.so* "$tree/lib/"
  cp -r "$sysroot/lib/rustlib/$host" "$tree/lib/rustlib/"
  cp /etc/ssl/certs/ca-certificates.crt "$tree/cargo/authorities.pem"
  printf '[http]\ncainfo = "/usr/local/cargo/authorities.pem"\n' >"$tree/cargo/config.toml"
  tar -C "$tree" -cf "$FOLDER/rust.new.tar" .
  mv -f "$FOLDER/rust.new.tar" "$FOLDER/rust.tar"
  rm -rf "$tree"
}

main() {
  takes_nothing "$@"
  local prometheus
  ((EUID == 0)) || die "only root can make them."
  mkdir -p "$FOLDER"
  exec 9>>"$FOLDER/lock"
  flock 9
  archive slim minbase "${SLIM[@]}" &
  archive programs extract "${PROGRAMS[@]}"
  rust
  prometheus=$("$ROOT/scripts/later-prometheus.sh")
  cp -f "$prometheus/prometheus" "$prometheus/promtool" "$FOLDER/"
  wait $!
  cp -f "$ROOT"/tests/stand-ins/* "$FOLDER/"
  echo "$FOLDER"
}

main "$@"
