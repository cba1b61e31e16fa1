#!/usr/bin/env bash
# Unpacks a Prometheus 3 and its promtool beside the installed Prometheus 2, and says in which folder they are, so that
# tests run on both. Nothing is installed: the packages are those of Debian's next release, fetched once from the mirror that
# apt is set to, into the build's folder.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/prometheus-3
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

is_3() { "$1/prometheus" --version 2>&1 | grep -q '^prometheus, version 3\.' && [[ -x $1/promtool ]]; }

# The first of apt's own sources that carries Debian itself, not its updates.
mirror() {
  local uri codename
  # shellcheck disable=SC2016 # apt-get fills these in.
  while read -r uri codename; do
    [[ $codename == *-* ]] || { echo "$uri"; return; }
  done < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Origin: Debian' 'Created-By: Packages')
  return 1
}

fetch_packages() {
  local uri suite work=$FOLDER.new
  have apt-get || die "a Prometheus 3 can be fetched on Debian alone: apt-get is missing."
  uri=$(mirror) || die "apt has no source of Debian's packages to fetch a Prometheus 3 from."
  [[ -r $KEYRING ]] || die "$KEYRING is missing; install debian-archive-keyring."
  rm -rf "$work"
  mkdir -p "$work"/{lists,cache/archives,deb}/partial
  # Folders of our own, so that neither apt's lists nor root's rights are touched.
  local -a apt=(apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)"
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  for suite in testing unstable; do
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$uri" "$suite" >"$work/sources.list"
    "${apt[@]}" update >&2 || continue
    (cd "$work/deb" && "${apt[@]}" download prometheus promtool >&2) || continue
    for package in "$work"/deb/*.deb; do dpkg-deb --extract "$package" "$work/unpacked"; done
    if is_3 "$work/unpacked/usr/bin"; then
      rm -rf "$FOLDER"
      mv "$work/unpacked/usr/bin" "$FOLDER"
      rm -rf "$work"
      return
    fi
    rm -rf "$work"/unpacked "$work"/deb/*.deb
  done
  die "Debian's mirror has no Prometheus 3 that runs here."
}

main() {
  local installed
  installed=$(dirname "$(command -v prometheus || echo /none/none)")
  if is_3 "$installed" 2>/dev/null; then
    echo "$installed"
    return
  fi
  mkdir -p "$(dirname "$FOLDER")"
  exec 9>>"$FOLDER.lock"
  flock 9
  is_3 "$FOLDER" 2>/dev/null || fetch_packages
  echo "$FOLDER"
}

main
