#!/usr/bin/env bash
# Makes what a small virtual machine boots from: Debian's kernel, and in memory the programs of this machine that encrypted storage takes, with
# tests/stand-ins/vm-init.sh as the first process. For the tests of LUKS, which a container's or a test machine's own kernel may not know.
# Prints its folder.
#
#   ./scripts/stand-in-vm.sh
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

FOLDER=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")/stand-ins/vm
PROGRAMS=(base64 bash blkid cat chmod cryptsetup dd df find grep head ls mkdir mkfs.ext4 mktemp modprobe mount mountpoint mv realpath rm sleep sync tail tr
  umount)
MODULES=(virtio_pci virtio_blk dm-crypt xts aesni-intel)

kernel() {
  local package
  compgen -G "$FOLDER/kernel/boot/vmlinuz-*" >/dev/null && return
  package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/.*Depends: *\(linux-image-[0-9].*\)/\1/p' | head -n 1)
  [[ -n $package ]] || die "apt knows no linux-image-cloud-amd64 (apt-get update?)."
  rm -rf "$FOLDER/kernel.new" "$FOLDER/deb"
  mkdir -p "$FOLDER/deb"
  (cd "$FOLDER/deb" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "$package" >&2)
  dpkg-deb --extract "$FOLDER"/deb/*.deb "$FOLDER/kernel.new"
  mv "$FOLDER/kernel.new" "$FOLDER/kernel"
}

# put FOLDER FILE…: each at its own path below FOLDER.
put() {
  local into=$1 file
  shift
  for file in "$@"; do
    [[ -e $into$file ]] || { mkdir -p "$into$(dirname "$file")" && cp -L "$file" "$into$file"; }
  done
}

memory() {
  local version tree=$FOLDER/tree program path module
  local -a files
  version=$(basename "$FOLDER"/kernel/lib/modules/*)
  rm -rf "$tree"
  mkdir -p "$tree"/{proc,sys,dev,run,tmp,etc,usr/{bin,sbin,lib}}
  ln -s usr/bin "$tree/bin"
  ln -s usr/sbin "$tree/sbin"
  ln -s usr/lib "$tree/lib"
  ln -s usr/lib "$tree/lib64"
  for program in "${PROGRAMS[@]}"; do
    path=$(readlink -f "$(command -v "$program")")
    install -D "$path" "$tree/usr/bin/$program"
    mapfile -t files < <(ldd "$path" 2>/dev/null | grep -o '/[^ ]*' | sort -u)
    put "$tree" ${files[@]+"${files[@]}"}
  done
  depmod -b "$FOLDER/kernel" "$version" 2>/dev/null
  for module in "${MODULES[@]}"; do
    modprobe -d "$FOLDER/kernel" -S "$version" --show-depends "$module" | sed -n 's/^insmod \(.*\.ko\).*/\1/p'
  done | sort -u | while read -r path; do install -D "$path" "$tree/usr/lib/modules/${path#*/lib/modules/}"; done
  cp "$FOLDER/kernel/lib/modules/$version"/modules.{builtin,order} "$tree/usr/lib/modules/$version/"
  depmod -b "$tree" "$version" 2>/dev/null
  install -m 755 "$ROOT/tests/stand-ins/vm-init.sh" "$tree/init"
  cp "$ROOT/scripts/encrypted-storage.sh" "$tree/usr/bin/encrypted-storage.sh"
  (cd "$tree" && find . | cpio --create --format=newc --quiet | gzip -1 >"$FOLDER/memory.new")
  mv -f "$FOLDER/memory.new" "$FOLDER/memory"
  cp -f "$FOLDER"/kernel/boot/vmlinuz-* "$FOLDER/vmlinuz"
}

main() {
  takes_nothing "$@"
  mkdir -p "$FOLDER"
  exec 9>>"$FOLDER/lock"
  flock 9
  kernel
  memory
  echo "$FOLDER"
}

main "$@"
