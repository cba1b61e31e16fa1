# shellcheck shell=bash
# What all scripts share: how they speak, how they fail, and questions about ports and versions.
# Sourced by the scripts beside this folder, never run. Needs bash, coreutils, findutils and /proc.

# Servers live in /usr/sbin, which an ordinary user's PATH leaves out; rustup installs where only login shells look.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
[[ -d ${CARGO_HOME:-${HOME:-/root}/.cargo}/bin ]] && PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
export PATH

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# shellcheck disable=SC2034 # for those who source this
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
  BOLD='' GREEN='' RED='' YELLOW='' PLAIN=''
fi

say() { printf '%s\n' "$*"; }
note() { printf '  %s\n' "$*"; }
warn() { printf '  %swarning:%s %s\n' "$YELLOW" "$PLAIN" "$*" >&2; }

# die MESSAGE: the one clear message. Further lines may say what to do about it.
die() {
  printf '\n%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2
  exit 1
}

# needs_value "$@": the option that comes next has one.
needs_value() { [[ -n ${2:-} ]] || die "$1 needs a value. See: $0 --help"; }

# takes_nothing "$@": for scripts without arguments. --help shows what stands above the script; anything else is refused.
takes_nothing() {
  case ${1:-} in
    '') ;;
    -h | --help)
      sed -n '2,/^[^#]/{ s/^# \{0,1\}//p; }' "$0"
      exit 0
      ;;
    *) die "$(basename "$0") takes no arguments; '$1' is one. See: $0 --help" ;;
  esac
}

# Is there a person who can answer a question?
at_terminal() { [[ -t 0 && -t 1 && -z ${CI:-} ]]; }

have() { type -P "$1" >/dev/null 2>&1; }

# version_at_least HAVE WANTED
version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# as_root COMMAND…: run it with root's rights; require_root has said beforehand whether that is possible.
as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# require_root WHY HOW: HOW is what a person with the right could type instead.
require_root() {
  ((EUID == 0)) && return
  have sudo || die "$1 needs root's rights, and there is no sudo. As root, run: $2"
  if ! sudo -n true 2>/dev/null; then
    at_terminal || die "$1 needs root's rights, and sudo would ask for a password. As root, run: $2"
    sudo -v || die "$1 needs root's rights, and sudo did not give them. As root, run: $2"
  fi
}

# --- Rust ---------------------------------------------------------------------------------------------------------

RUST_HOWTO="  The current stable one comes with rustup (https://rustup.rs):
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y
  Then open a new shell, or run: . \"\$HOME/.cargo/env\""

# Cargo is there, and as recent as Cargo.toml asks (its `rust-version`).
require_cargo() {
  local wanted found
  wanted=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
  have cargo || die "cargo, Rust's build tool, is not installed; $wanted or newer is needed.
$RUST_HOWTO"
  found=$(cd "$ROOT" && cargo --version 2>&1 9>&-) || die "cargo does not run: $found
$RUST_HOWTO"
  found=${found#cargo }
  found=${found%% *}
  version_at_least "$found" "$wanted" || die "Rust $found is too old; $wanted or newer is needed.
  If rustup manages it: rustup update stable
$RUST_HOWTO"
  note "Rust $found"
}

# --- ports and pages on this machine ------------------------------------------------------------------------------

# Does anything accept connections on 127.0.0.1:PORT?
port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Who listens on PORT: "name (pid 123)", or "another program" if that is not for us to see.
port_holder() {
  local inode pid
  local -a inodes
  # In these tables 0A is "listening", and addresses end in the port, in hexadecimal.
  mapfile -t inodes < <(awk -v port="$(printf ':%04X' "$1")" \
    '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  for inode in ${inodes[@]+"${inodes[@]}"}; do
    pid=$(find /proc/[0-9]*/fd -lname "socket:\\[$inode\\]" 2>/dev/null | head -n 1 | cut -d / -f 3) || true
    if [[ -n $pid ]]; then
      printf '%s (pid %s)' "$(cat "/proc/$pid/comm" 2>/dev/null || echo unknown)" "$pid"
      return
    fi
  done
  printf 'another program'
}

# fetch URL [curl's options…]: the body on stdout, failure on any status from 400 up. Proxies have no say on this machine.
fetch() { curl --silent --show-error --fail --noproxy '*' --max-time 5 "${@:2}" "$1" 2>/dev/null; }

# Does a Redis that we may use answer on PORT? (A Redis that wants a password does not say PONG.)
redis_answers() {
  local reply=''
  # The subshell keeps a refused connection, and the descriptor, to itself.
  reply=$( (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf 'PING\r\n' >&3
    IFS= read -r -t 2 line <&3 && printf '%s' "$line"
  ) 2>/dev/null) || return 1
  [[ ${reply%$'\r'} == '+PONG' ]]
}

# end_with_children PID: kills a job of ours with the servers that are its children, which it must not start again. 1 if it has ended by itself.
end_with_children() {
  kill -0 "$1" 2>/dev/null || return
  disown "$1"
  kill -STOP "$1"
  pgrep -P "$1" | xargs --no-run-if-empty kill -KILL
  kill -KILL "$1"
}
