# syntax=docker/dockerfile:1
# The gateway as an image: docker build -t qcc-gateway .

FROM rust:1-slim-bookworm AS build
WORKDIR /build

# With --build-arg TRAINED=yes the gateway is optimised by a profile of itself under load: it takes longer to build, and less CPU
# from then on. README.md says how much.
ARG TRAINED=no
RUN if [ "$TRAINED" = yes ]; then \
        apt-get update \
        && apt-get install -y --no-install-recommends llvm-19 python3 \
        && rm -rf /var/lib/apt/lists/*; \
    fi

# The dependencies alone, so that a change of the source does not build them anew.
COPY Cargo.toml Cargo.lock ./
COPY benches/peers benches/peers
RUN mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && : > src/lib.rs \
    && if [ "$TRAINED" = yes ]; then benches/peers/train --instrument; \
       else cargo build --profile dist --locked --bin qcc-gateway; fi \
    && rm -r src

COPY src src
COPY settings settings
# The placeholders were built later than the source was written.
RUN touch src/main.rs src/lib.rs \
    && if [ "$TRAINED" = yes ]; then built=$(benches/peers/train --or-plain); \
       else cargo build --profile dist --locked --bin qcc-gateway && built=target/dist/qcc-gateway; fi \
    && cp "$built" qcc-gateway

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN groupadd --system --gid 10001 qcc \
    && useradd --system --uid 10001 --gid qcc --no-create-home --shell /usr/sbin/nologin qcc \
    && mkdir -p /etc/qcc /var/lib/qcc \
    && chown qcc:qcc /var/lib/qcc \
    && chmod 0750 /var/lib/qcc
COPY --from=build /build/qcc-gateway /usr/local/bin/qcc-gateway

# Settings: files in /etc/qcc, such as production.toml, and variables, which win over them.
ENV QCC_ENV=production \
    QCC_SETTINGS_DIR=/etc/qcc \
    QCC__SERVER__HOST=0.0.0.0 \
    QCC__SERVER__SHUTDOWN_GRACE=5m \
    QCC__STATE__FILE=/var/lib/qcc/state.json \
    QCC__RELOAD__WATCH=10s \
    QCC_DEMO_HOST=0.0.0.0 \
    QCC_DEMO_PORT=7860
# The environment's file may be missing where variables say everything; an empty one is as good.
RUN : > /etc/qcc/production.toml
# Who is isolated outlives a restart. As a volume it can be written though the root is read-only, and is there where nobody named
# one; to outlive the container as well it wants a name (-v qcc-state:/var/lib/qcc).
VOLUME /var/lib/qcc
USER 10001:10001
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["qcc-gateway", "health"]
ENTRYPOINT ["qcc-gateway"]
