# shellcheck shell=bash
# Figures of scripts, for Node Exporter's textfile collector: a file of gauges that is replaced in one step.
# What may stand in it is declared in prometheus/textfile/NAME.prom; figures that a run does not set stay as they were.
# Sourced after common.sh.

TEXTFILE_DIR=${TECHSAPO_TEXTFILE_DIR:-/var/lib/prometheus/node-exporter}
declare -A GAUGES=() # what this run has to say: 'name{label="value"}' → value

# gauge NAME LABEL VALUE NUMBER
gauge() { GAUGES["$1{$2=\"$3\"}"]=$4; }

# write_gauges NAME KEPT: GAUGES, and what else stood in techsapo-NAME.prom and has the pattern KEPT in its labels. Fails, with a warning,
# if it cannot: whoever measures goes on.
write_gauges() {
  local file=$TEXTFILE_DIR/techsapo-$1.prom line key
  # shellcheck disable=SC2034 # for print_gauges, by its name
  local -A all=()
  # For Node Exporter to read, whoever it is.
  (umask 022 && mkdir -p "$TEXTFILE_DIR") 2>/dev/null || true
  # Two scripts may write into one file.
  { exec {TEXTFILE_LOCK}>"$TEXTFILE_DIR/.techsapo-$1.lock" && flock --wait 10 "$TEXTFILE_LOCK"; } 2>/dev/null || {
    warn "cannot write $file (as $(id -un)): Prometheus will not see what this run did."
    return 1
  }
  if [[ -r $file ]]; then
    while read -r key line; do
      if [[ $key != '#' && ${key#*\{} =~ $2 ]]; then all[$key]=$line; fi
    done <"$file"
  fi
  # shellcheck disable=SC2034
  for key in "${!GAUGES[@]}"; do all[$key]=${GAUGES[$key]}; done
  local status=0
  {
    # Node Exporter reads *.prom alone, so never this one while it is written.
    print_gauges "$1" all >"$file.new" && chmod 644 "$file.new" && mv -f "$file.new" "$file"
  } 2>/dev/null || {
    rm -f "$file.new"
    warn "cannot write $file: Prometheus will not see what this run did."
    status=1
  }
  exec {TEXTFILE_LOCK}>&-
  return "$status"
}

# print_gauges NAME ARRAY: the declared ones that have a value.
print_gauges() {
  local -n values=$2
  local name type help
  local -a keys
  while read -r name type; do
    mapfile -t keys < <(printf '%s\n' "${!values[@]}" | grep "^$name{" | sort)
    ((${#keys[@]})) || continue
    help=$(sed -n "s/^# HELP $name //p" "$ROOT/prometheus/textfile/$1.prom")
    printf '# HELP %s %s\n# TYPE %s %s\n' "$name" "$help" "$name" "$type"
    for key in "${keys[@]}"; do printf '%s %s\n' "$key" "${values[$key]}"; done
  done < <(sed -n 's/^# TYPE //p' "$ROOT/prometheus/textfile/$1.prom")
}
