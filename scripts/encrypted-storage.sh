#!/usr/bin/env bash
# Folders whose contents are encrypted where they are stored: made, opened, closed. `--help` tells how; docs/encryption.md why, and how a host boots.
# Needs nothing of this repository, so that it can be copied alone to where a host boots from.
set -euo pipefail

usage() {
  cat <<'HELP'
Folders whose contents are encrypted where they are stored.

  encrypted-storage.sh key FILE                        make a random key (for you to copy to a safe place: without it all is lost)
  encrypted-storage.sh create NAME STORE FOLDER        make storage that appears at FOLDER when it is open, and open it
  encrypted-storage.sh open NAME                       after that it can be read and written at its folder
  encrypted-storage.sh close NAME                      and after that no longer
  encrypted-storage.sh status [NAME]                   what there is, and whether it is open (0; closed: 3)

  --key-file FILE    what the key is read from; without it, it is asked for
  --size SIZE        create: how large a file STORE becomes (such as 20G)

STORE decides how:
  a block device, or a file (with --size)   LUKS2 by dm-crypt, with ext4 on it: what to use wherever it can be
  a folder                                  gocryptfs: where there is no device to spare and no size to be chosen beforehand, or no dm-crypt

Which store belongs to which folder is kept in /etc/techsapo/storage (TECHSAPO_STORAGE_DIR); keys are not.
HELP
}

RECORDS=${TECHSAPO_STORAGE_DIR:-/etc/techsapo/storage}
KEY_FILE=''
SIZE=''
NAME=''
HOW=''
STORE=''
FOLDER=''

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need() { command -v "$1" >/dev/null 2>&1 || die "$1 is missing; Debian's package is ${2:-$1}."; }

# --- records --------------------------------------------------------------------------------------------------------

check_name() { [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || die "'$1' is no name: lower case letters, digits and hyphens."; }

read_record() {
  NAME=$1
  check_name "$NAME"
  [[ -r $RECORDS/$NAME ]] || die "there is no storage called $NAME in $RECORDS."
  { read -r HOW && read -r STORE && read -r FOLDER; } <"$RECORDS/$NAME" || die "$RECORDS/$NAME is not what create had written."
}

write_record() {
  mkdir -p "$RECORDS"
  printf '%s\n' "$HOW" "$STORE" "$FOLDER" >"$RECORDS/$NAME.new"
  mv -f "$RECORDS/$NAME.new" "$RECORDS/$NAME"
}

mapping() { printf 'techsapo-%s' "$NAME"; }

is_open() { mountpoint -q "$FOLDER"; }

# --- keys -----------------------------------------------------------------------------------------------------------

# Where the programs read the key from: the file, or what was typed. It is never on a command line.
key_source() {
  local typed again
  if [[ -n $KEY_FILE ]]; then
    [[ -r $KEY_FILE ]] || die "the key $KEY_FILE cannot be read."
    [[ -z $(find -L "$KEY_FILE" -perm /077) ]] || die "others may read the key: chmod 600 $KEY_FILE"
    [[ -s $KEY_FILE ]] || die "$KEY_FILE is empty."
    return
  fi
  [[ -t 0 ]] || die "a key is needed: --key-file FILE"
  read -r -s -p "Key of $NAME: " typed && echo
  if [[ ${1:-} == twice ]]; then
    read -r -s -p "Once more: " again && echo
    [[ $typed == "$again" ]] || die "these are not the same."
  fi
  [[ -n $typed ]] || die "the key is empty."
  KEY_FILE=$(mktemp /dev/shm/techsapo-key.XXXXXX)
  trap 'rm -f "$KEY_FILE"' EXIT
  printf '%s' "$typed" >"$KEY_FILE"
}

make_key() {
  [[ ! -e $1 ]] || die "$1 exists; a key is never overwritten."
  (umask 077 && head -c 32 /dev/urandom | base64 -w 0 >"$1")
  echo "Made $1. Copy it to where it survives this host: without it, what it encrypts is lost."
}

# --- LUKS -----------------------------------------------------------------------------------------------------------

# Before anything is made: without it nothing can be opened afterwards.
need_mapper() {
  need cryptsetup cryptsetup-bin
  [[ -e /dev/mapper/control ]] || modprobe dm_crypt 2>/dev/null || true
  [[ -e /dev/mapper/control ]] || die "the kernel has no device mapper (modprobe dm_crypt). With a folder as STORE it is not needed."
}

luks_create() {
  need_mapper
  need mkfs.ext4 e2fsprogs
  if [[ -b $STORE ]]; then
    [[ -z $(blkid -o value -s TYPE "$STORE" || true) ]] || die "$STORE holds something ($(blkid "$STORE")). If it can go: wipefs --all $STORE"
  else
    [[ ! -e $STORE ]] || die "$STORE exists."
    [[ -n $SIZE ]] || die "how large is $STORE to be? --size 20G"
    (umask 077 && fallocate -l "$SIZE" "$STORE") || die "$STORE cannot be made."
  fi
  cryptsetup luksFormat --type luks2 --batch-mode --key-file "$KEY_FILE" "$STORE" || die "cryptsetup could not encrypt $STORE."
  luks_map
  mkfs.ext4 -q "/dev/mapper/$(mapping)"
}

luks_map() {
  local status=0
  cryptsetup open --type luks2 --key-file "$KEY_FILE" "$STORE" "$(mapping)" || status=$?
  case $status in
    0) ;;
    2) die "this key does not open $NAME." ;;
    *) die "cryptsetup could not open $STORE; what it says stands above." ;;
  esac
}

luks_mount() { mount -o nodev,nosuid,noexec,noatime "/dev/mapper/$(mapping)" "$FOLDER"; }

luks_open() {
  need_mapper
  [[ -e /dev/mapper/$(mapping) ]] || luks_map
  luks_mount
}

luks_close() { cryptsetup close "$(mapping)"; }

# --- gocryptfs ------------------------------------------------------------------------------------------------------

gocryptfs_create() {
  need gocryptfs
  [[ -z $(ls -A "$STORE") ]] || die "$STORE is not empty."
  chmod 700 "$STORE"
  gocryptfs -init -quiet -passfile "$KEY_FILE" "$STORE" || die "gocryptfs could not begin in $STORE."
  gocryptfs_open
}

gocryptfs_open() {
  local status=0
  need gocryptfs
  [[ -c /dev/fuse ]] || die "the kernel has no FUSE (modprobe fuse)."
  # Services of other users write to it; who may what is told by owners and modes, as everywhere.
  gocryptfs -quiet -passfile "$KEY_FILE" -allow_other -nodev -nosuid -noexec "$STORE" "$FOLDER" || status=$?
  case $status in
    0) ;;
    12) die "this key does not open $NAME." ;;
    *) die "gocryptfs could not open $STORE ($status)." ;;
  esac
}

gocryptfs_close() { :; }

# --- commands -------------------------------------------------------------------------------------------------------

create() {
  NAME=$1
  check_name "$NAME"
  STORE=$(realpath -m "$2")
  FOLDER=$(realpath -m "$3")
  [[ ! -e $RECORDS/$NAME ]] || die "there is a storage called $NAME already: $RECORDS/$NAME"
  if [[ -d $STORE ]]; then HOW=gocryptfs; else HOW=luks; fi
  mkdir -p "$FOLDER"
  [[ -z $(ls -A "$FOLDER") ]] || die "$FOLDER is not empty: what is in it would be hidden. Move it away, and into it afterwards."
  key_source twice
  "${HOW}_create"
  # gocryptfs has opened it already.
  is_open || luks_mount
  write_record
  echo "$NAME is open at $FOLDER."
}

open() {
  read_record "$1"
  if is_open; then
    echo "$NAME is open already at $FOLDER."
    return
  fi
  mkdir -p "$FOLDER"
  # Whoever wrote here while it was closed wrote in clear.
  [[ -z $(ls -A "$FOLDER") ]] || die "$FOLDER is not empty though $NAME is closed: something wrote there in clear. Move it away first."
  key_source
  "${HOW}_open"
  echo "$NAME is open at $FOLDER."
}

close() {
  read_record "$1"
  if is_open; then umount "$FOLDER" || die "$FOLDER is in use; stop what uses it (fuser -vm $FOLDER)."; fi
  "${HOW}_close"
  echo "$NAME is closed."
}

status() {
  local record code=0
  for record in "$RECORDS"/${1:-*}; do
    # An encrypted key may lie beside the record that it opens.
    [[ -n ${1:-} || $record != *.key ]] || continue
    [[ -e $record ]] || { [[ -n ${1:-} ]] && die "there is no storage called $1."; continue; }
    read_record "${record##*/}"
    if is_open; then
      printf '%-16s open     %-10s %s on %s, %s free\n' "$NAME" "$HOW" "$FOLDER" "$STORE" "$(df -h --output=avail "$FOLDER" | tail -n 1 | tr -d ' ')"
    else
      printf '%-16s closed   %-10s %s on %s\n' "$NAME" "$HOW" "$FOLDER" "$STORE"
      code=3
    fi
  done
  return "$code"
}

main() {
  local -a words=()
  while (($#)); do
    case $1 in
      -h | --help) usage && return ;;
      --key-file) KEY_FILE=${2:?--key-file needs a file} && shift ;;
      --size) SIZE=${2:?--size needs a size, such as 20G} && shift ;;
      -*) die "unknown option '$1'. See: $0 --help" ;;
      *) words+=("$1") ;;
    esac
    shift
  done
  case ${words[0]:-}:${#words[@]} in
    key:2) make_key "${words[1]}" && return ;;
    status:1 | status:2) status "${words[1]:-}" && return || return ;;
    create:4 | open:2 | close:2) ;;
    *) usage >&2 && exit 2 ;;
  esac
  ((EUID == 0)) || die "only root can do this."
  "${words[@]}"
}

main "$@"
