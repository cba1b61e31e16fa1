# The images of the app (--target app) and of the exporter (--target exporter), for BuildKit and for the builder before it.
#
#   docker build --target app -t techsapo/app:0.1.0 .
#
# Arguments:
#   PROFILE=release      cargo's profile; dev compiles faster
#   BINARIES=built       prebuilt takes the programs from docker/prebuilt instead of compiling them (with BuildKit; without it, they
#                        are compiled all the same and not used)
#   PACKAGES             what is compiled; less than both programs makes no image, but shows whether a builder works
#   VERSION, REVISION    for the images' labels
ARG BINARIES=built

# --- compile ------------------------------------------------------------------------------------------------------
FROM rust:1.95.0-slim-bookworm AS build
ARG PROFILE=release
ARG PACKAGES="techsapo techsapo-exporter"
WORKDIR /src

# jemalloc is built with make.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make && rm -rf /var/lib/apt/lists/*

# The dependencies first, with empty crates in place of ours: a layer that only a change of a manifest makes anew.
COPY Cargo.toml Cargo.lock ./
COPY app/Cargo.toml app/
COPY exporter/Cargo.toml exporter/
COPY grafana/Cargo.toml grafana/
COPY redis-route/Cargo.toml redis-route/
COPY shared/Cargo.toml shared/
COPY tests/Cargo.toml tests/
COPY tls/Cargo.toml tls/
RUN for member in app exporter grafana redis-route shared tests tls; do mkdir -p "$member/src" && : >"$member/src/lib.rs"; done \
 && for program in app/src exporter/src tests/benches/cost; do mkdir -p "$program" && echo 'fn main() {}' >"$program/main.rs"; done \
 && for package in $PACKAGES; do set -- "$@" --package "$package"; done \
 && cargo build --locked --profile "$PROFILE" "$@"

# Then our own. They bear the times of the files that they come from, which cargo would take for older than what it has built.
COPY shared shared
COPY redis-route redis-route
COPY tls tls
COPY exporter exporter
COPY app app
# The exporter explains alerts, too.
COPY prometheus/rules prometheus/rules
COPY config config
RUN touch app/src/*.rs exporter/src/*.rs redis-route/src/*.rs shared/src/*.rs tls/src/*.rs \
 && for package in $PACKAGES; do set -- "$@" --package "$package"; done \
 && cargo build --locked --profile "$PROFILE" "$@" \
 && folder=target/$([ "$PROFILE" = dev ] && echo debug || echo "$PROFILE") && mkdir /out \
 && for program in techsapo techsapo-exporter; do \
      if [ -e "$folder/$program" ]; then strip --strip-debug -o "/out/$program" "$folder/$program"; fi; \
    done

FROM scratch AS built
COPY --from=build /out/ /

FROM scratch AS prebuilt
COPY docker/prebuilt/ /

# hadolint ignore=DL3006
FROM ${BINARIES} AS binaries

# --- the exporter -------------------------------------------------------------------------------------------------
FROM debian:12.15-slim AS exporter
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="TechSapo exporter" \
      org.opencontainers.image.description="Turns TechSapo's stream of events into Prometheus metrics, counting every event exactly once." \
      org.opencontainers.image.source="https://github.com/techsapo/techsapo" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A volume that is empty takes over owner and mode of the folder that it is mounted on.
RUN install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/techsapo-exporter
COPY --from=binaries /techsapo-exporter /usr/local/bin/techsapo-exporter
ENV TECHSAPO_EXPORTER_WEB_LISTEN_ADDRESS=0.0.0.0:10040
# The state is in data/exporter below it, or where --checkpoint.dir or --checkpoint.url say.
WORKDIR /var/lib/techsapo-exporter
USER 10001:10001
EXPOSE 10040
HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=40s CMD ["/usr/local/bin/techsapo-exporter", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/techsapo-exporter"]

# --- the app ------------------------------------------------------------------------------------------------------
FROM debian:12.15-slim AS app
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="TechSapo" \
      org.opencontainers.image.description="Asks several LLM providers the same question, compares their answers and returns one with a measured confidence." \
      org.opencontainers.image.source="https://github.com/techsapo/techsapo" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The authorities that vendors' servers are known by.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/techsapo /var/lib/techsapo/journal /run/techsapo
COPY config/ /etc/techsapo/
COPY --from=binaries /techsapo /usr/local/bin/techsapo
# Beyond loopback the app wants API keys: `techsapo keys create`.
ENV TECHSAPO_CONFIG=/etc/techsapo/techsapo.toml \
    TECHSAPO_PROVIDERS_FILE=/etc/techsapo/providers.toml \
    TECHSAPO_LISTEN=0.0.0.0:4000 \
    TECHSAPO_JOURNAL_DIR=/var/lib/techsapo/journal \
    TECHSAPO_KEYS_FILE=/var/lib/techsapo/keys.toml \
    TECHSAPO_AUDIT_KEY_FILE=/var/lib/techsapo/audit.key
WORKDIR /var/lib/techsapo
USER 10001:10001
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=40s CMD ["/usr/local/bin/techsapo", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/techsapo"]
