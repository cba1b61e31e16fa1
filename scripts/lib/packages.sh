# shellcheck shell=bash
# Installs what is missing, from Debian's own packages, without letting them start services.
#
# Debian starts a server as soon as it is installed, and again at every boot. It would then hold the very port that we
# need. So while we install, a policy-rc.d forbids starting anything, and is taken away afterwards; and what *this* call
# installed is not started at boot either. A service that was there before is never touched.
# Sourced after common.sh.

POLICY=/usr/sbin/policy-rc.d
POLICY_MARK='made by TechSapo while it installs packages; may be deleted'
POLICY_OURS=no
APT_PID=''            # apt-get, while it runs
INSTALLED_SERVICES=() # services of the packages that this call is installing

# Which program comes from which package.
declare -A PACKAGE_OF=(
  [cc]=build-essential
  [make]=build-essential
  [curl]=curl
  [redis-server]=redis-server
  [prometheus]=prometheus
  [promtool]=prometheus
  [prometheus-alertmanager]=prometheus-alertmanager
  [amtool]=prometheus-alertmanager
  [prometheus-node-exporter]=prometheus-node-exporter
  [victoria-metrics]=victoria-metrics
  [mariadbd]=mariadb-server
  [openssl]=openssl
  [nginx]=nginx
  [systemd-analyze]=systemd
  [python3]=python3
  [virtualenv]=virtualenv
  [shellcheck]=shellcheck
  [node]=nodejs
  [npm]=npm
  [chromium]=chromium
  [chromedriver]=chromium-driver
  [pngquant]=pngquant
  [fish]=fish
  [zsh]=zsh
  [netdata]=netdata-core
  [dockerd]=docker.io
  [iptables]=iptables
  [docker-compose]=docker-compose
  [mmdebstrap]=mmdebstrap
  [slirp4netns]=slirp4netns
  [systemd-nspawn]=systemd-container
  [gocryptfs]=gocryptfs
  [fusermount3]=fuse3
  [cryptsetup]=cryptsetup-bin
  [mkfs.ext4]=e2fsprogs
  [qemu-system-x86_64]=qemu-system-x86
  [cpio]=cpio
  [modprobe]=kmod
  [age]=age
  [age-keygen]=age
  [restic]=restic
)

# The services that such a package would start at boot.
declare -A SERVICE_OF=(
  [redis-server]=redis-server
  [prometheus]=prometheus
  [prometheus-alertmanager]=prometheus-alertmanager
  [prometheus-node-exporter]=prometheus-node-exporter
  [victoria-metrics]=victoria-metrics
  [mariadb-server]=mariadb
  [nginx]=nginx
  [netdata-core]=netdata
  [docker.io]='docker containerd'
)

forbid_service_starts() {
  if [[ -x $POLICY ]] && ! grep -qs "$POLICY_MARK" "$POLICY"; then
    local answer=0
    "$POLICY" redis-server start >/dev/null 2>&1 || answer=$?
    ((answer == 101)) && return # It forbids them already: leave it alone.
    as_root mv -f "$POLICY" "$POLICY.techsapo-saved"
  fi
  POLICY_OURS=yes
  printf '#!/bin/sh\n# %s\nexit 101\n' "$POLICY_MARK" | as_root tee "$POLICY" >/dev/null
  as_root chmod 755 "$POLICY"
}

# What has to be put right after installing, also after Ctrl-C in the middle of it. Safe to call at any time, also twice.
end_install() {
  if [[ -n $APT_PID ]] && kill -0 "$APT_PID" 2>/dev/null; then
    printf '\n  letting apt-get finish, so that no package is left half installed …\n' >&2
    wait "$APT_PID" || true
  fi
  APT_PID=''
  keep_from_boot ${INSTALLED_SERVICES[@]+"${INSTALLED_SERVICES[@]}"}
  INSTALLED_SERVICES=()
  [[ $POLICY_OURS == yes ]] || return 0
  POLICY_OURS=no
  as_root rm -f "$POLICY"
  if [[ -e $POLICY.techsapo-saved ]]; then as_root mv -f "$POLICY.techsapo-saved" "$POLICY"; fi
}

# apt_get LOG TEXT ARGUMENT…: its output goes to LOG; a dot every two seconds shows that it lives.
apt_get() {
  local log=$1 text=$2 began=$SECONDS status=0
  shift 2
  printf '  %s ' "$text"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" \
    >>"$log" 2>&1 </dev/null 9>&- &
  APT_PID=$!
  while kill -0 "$APT_PID" 2>/dev/null; do
    sleep 1
    (((SECONDS - began) % 2)) || printf '.'
  done
  wait "$APT_PID" || status=$?
  APT_PID=''
  if ((status == 0)); then printf ' done (%d s)\n' $((SECONDS - began)); else printf ' failed\n'; fi
  return "$status"
}

# install_missing LOG ASSUME_YES PROGRAM…: afterwards every PROGRAM is there, or we have said why not and ended.
# With nothing missing it needs no rights and no network.
install_missing() {
  local log=$1 assume_yes=$2 program package answer
  local -a missing=() packages=() services=() of_package=()
  local -A seen=()
  shift 2
  for program in "$@"; do
    have "$program" && continue
    missing+=("$program")
    package=${PACKAGE_OF[$program]}
    [[ -n ${seen[$package]:-} ]] && continue
    seen[$package]=1
    packages+=("$package")
    # Some packages have two.
    read -r -a of_package <<<"${SERVICE_OF[$package]:-}"
    services+=(${of_package[@]+"${of_package[@]}"})
  done
  if ((${#missing[@]} == 0)); then
    note "nothing is missing"
    return
  fi

  note "missing: ${missing[*]}"
  local command="apt-get update && apt-get install --no-install-recommends ${packages[*]}"
  have apt-get || die "these programs are missing, and only Debian's apt-get is known here to install them: ${missing[*]}
  Install them yourself so that they are in PATH, and call this script again."
  require_root "installing ${packages[*]}" "$command"
  note "will install from Debian's packages: ${packages[*]}"
  if ((${#services[@]})); then
    note "their own services are neither started now nor at boot: ${services[*]}"
  fi
  if at_terminal && [[ $assume_yes != yes ]]; then
    read -r -p "  Go on? [Y/n] " answer
    [[ -z $answer || $answer == [Yy]* ]] || die "nothing was installed. To do it yourself: $command"
  fi

  INSTALLED_SERVICES=(${services[@]+"${services[@]}"})
  forbid_service_starts
  apt_get "$log" "reading the package lists" update ||
    warn "the package lists could not be read anew; trying with those that are there (details: $log)"
  if ! apt_get "$log" "installing" install --no-install-recommends "${packages[@]}"; then
    tail -n 15 "$log" | sed 's/^/    /' >&2
    die "installing ${packages[*]} failed; the last lines of $log stand above."
  fi
  end_install

  hash -r
  for program in "${missing[@]}"; do
    have "$program" || die "$program is still missing after installing ${PACKAGE_OF[$program]} (details: $log)."
  done
}

# keep_from_boot SERVICE…: `systemctl enable SERVICE` undoes it. A machine without either tool starts nothing at boot.
keep_from_boot() {
  local service
  for service in "$@"; do
    if have systemctl; then
      as_root systemctl disable "$service" >/dev/null 2>&1 || true
    elif have update-rc.d; then
      as_root update-rc.d "$service" disable >/dev/null 2>&1 || true
    fi
  done
}

# --- packages that are unpacked, not installed ----------------------------------------------------------------------

# The address of the first of apt's own sources that carries Debian itself, not its updates.
debian_mirror() {
  local uri codename
  have apt-get || die "Debian's packages can be fetched on Debian alone: apt-get is missing."
  # shellcheck disable=SC2016 # apt-get fills these in.
  while read -r uri codename; do
    [[ $codename == *-* ]] || { echo "$uri"; return; }
  done < <(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Origin: Debian' 'Created-By: Packages')
  die "apt has no source of Debian's packages."
}

# unpack_packages FOLDER SUITE PACKAGE…: unpacks packages of another release of Debian into FOLDER/unpacked. Nothing is installed, and
# neither apt's lists nor root's rights are touched. Fails where that release has none of them.
unpack_packages() {
  local work=$1 suite=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri package
  shift 2
  uri=$(debian_mirror) || return
  [[ -r $keyring ]] || die "$keyring is missing; install debian-archive-keyring."
  rm -rf "$work"
  mkdir -p "$work"/{lists,cache/archives,deb}/partial
  local -a apt=(apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o APT::Sandbox::User="$(id -un)"
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$work/sources.list"
  "${apt[@]}" update >&2 || return
  (cd "$work/deb" && "${apt[@]}" download "$@" >&2) || return
  for package in "$work"/deb/*.deb; do dpkg-deb --extract "$package" "$work/unpacked" || return; done
}

# --- Python's tools, from PyPI ------------------------------------------------------------------------------------

# Can this Python make environments by itself? (Debian's needs a package more.)
python_makes_environments() { python3 -c 'import ensurepip, venv' >/dev/null 2>&1; }

# python_tools LOG FOLDER NAME==VERSION…: afterwards FOLDER/bin holds those tools, in an environment of their own.
python_tools() {
  local log=$1 folder=$2
  shift 2
  [[ $* != "$(cat "$folder/installed" 2>/dev/null)" ]] || return 0
  note "installing $* from PyPI into $folder"
  rm -rf "$folder"
  mkdir -p "$(dirname "$folder")"
  if python_makes_environments; then
    python3 -m venv "$folder" >>"$log" 2>&1
  else
    virtualenv --quiet "$folder" >>"$log" 2>&1
  fi || die "no environment for Python can be made in $folder (details: $log)"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$log" 2>&1 </dev/null ||
    die "$* could not be installed from PyPI (details: $log)"
  echo "$*" >"$folder/installed"
}
