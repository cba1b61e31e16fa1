# shellcheck shell=bash
# Writes Prometheus' configuration for where things are in fact: prometheus/prometheus.yml names them by the ports of one host.
# Sourced after common.sh.

# The ports that the configurations of this repository name.
declare -A DEFAULT_PORT=([app]=4000 [exporter]=10040 [prometheus]=9090 [alertmanager]=9093 [node-exporter]=9100 [redis]=6379
  [long-term-store]=8428)

# render_prometheus RULES NAME=HOST:PORT…: the configuration on stdout, with these addresses and the rules of the folder RULES.
render_prometheus() {
  local rules=$1 place name
  local -a mark=() fill=()
  shift
  for place in "$@"; do
    name=${place%%=*}
    # In two steps, so that no new address is taken for an old one.
    mark+=(-e "s/127\.0\.0\.1:${DEFAULT_PORT[$name]}\b/@$name@/g")
    fill+=(-e "s/@$name@/${place#*=}/g")
  done
  sed "${mark[@]}" "$ROOT/prometheus/prometheus.yml" | sed "${fill[@]}" -e "s#^  - rules/#  - $rules/#"
}
