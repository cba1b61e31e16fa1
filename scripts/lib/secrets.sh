# shellcheck shell=bash
# Makes secrets and configurations for containers. Sourced after common.sh.

SECRETS='' # The folder of the secrets, which those who source this name.

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
  note "made ${file#"$ROOT/"}"
}

value_of() { tr -d '\n' <"$SECRETS/$1"; }

# digest_of NAME: of a secret, as Redis' lists of users have it.
digest_of() { value_of "$1" | sha256sum | cut -d ' ' -f 1; }

# What backup.sh and restore.sh do in Redis (docs/backup.md), and nothing else; with the secret redis-backup-password.
redis_backup_user() {
  printf 'user backup on #%s ~techsapo:{app}:* ~techsapo:acks* +ping +info +sync +psync +replconf +echo +scan +restore +exists +hset\n' \
    "$(digest_of redis-backup-password)"
}

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

# alertmanager_configuration FOLDER SECRETS: in FOLDER, as Alertmanager's container sees it (/etc/alertmanager), with the receivers for
# which there are secrets. They are copied, for a folder of somebody's own stays as closed as it is.
alertmanager_configuration() {
  local folder=$1 secrets=$2
  mkdir -p "$folder/secrets"
  rm -f "$folder/secrets"/*
  if [[ -d $secrets ]]; then
    find "$secrets" -maxdepth 1 -type f -exec cp {} "$folder/secrets/" \; || die "$secrets cannot be read (as $(id -un))."
  fi
  "$ROOT/scripts/alertmanager-config.sh" --secrets-at /etc/alertmanager/secrets --templates-at /etc/techsapo/templates \
    "$secrets" "$folder/alertmanager.yml"
  chmod -R a+rX "$folder"
}
