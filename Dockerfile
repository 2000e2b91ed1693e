# The image: `latchkey` on Debian slim, run by an unprivileged user.
#
#   docker build --tag latchkey .
#   docker run --env DATABASE_URL=… latchkey migrate
#   docker run --env DATABASE_URL=… --publish 127.0.0.1:8080:8080 --volume usage:/var/lib/latchkey/usage latchkey

FROM swift:6.3-bookworm AS builder

RUN apt-get update \
    && apt-get install --no-install-recommends --yes libcurl4-openssl-dev libidn2-dev libpq-dev libssl-dev \
       libunistring-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /build

# A layer of its own, so that a change in the sources does not fetch the dependencies again.
COPY Package.swift ./
RUN swift package resolve

COPY Sources Sources
# Embedded in the program.
COPY migrations migrations
COPY openapi.json openapi.yaml ./
# Not compiled, but Package.swift refers to them.
COPY Tests Tests
RUN swift build --configuration release --product latchkey --static-swift-stdlib

FROM debian:bookworm-slim

RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates libcurl4 libidn2-0 libpq5 libssl3 libstdc++6 \
       libunistring2 tzdata \
    && rm -rf /var/lib/apt/lists/*

# The ids are fixed, for places that accept only numbers (runAsUser, the owner of a volume).
RUN groupadd --system --gid 10001 latchkey \
    && useradd --system --uid 10001 --gid latchkey --no-create-home --home-dir /nonexistent latchkey \
    && install --directory --owner latchkey --group latchkey --mode 0700 /var/lib/latchkey/usage

WORKDIR /app
COPY --from=builder /build/.build/release/latchkey ./

ENV HTTP_HOST=0.0.0.0 \
    HTTP_PORT=8080 \
    USAGE_SPOOL=/var/lib/latchkey/usage

USER 10001:10001
EXPOSE 8080

# For USAGE_SPOOL (docs/CONFIGURATION.md).
VOLUME /var/lib/latchkey/usage

# Checks that the process answers, not that PostgreSQL does (/readyz), because a restart would not repair that. The
# image has no curl, but bash can send this request. bash supports neither TLS nor unix sockets: with TLS_CERTIFICATE or
# HTTP_SOCKET, set OPERATIONS_PORT as well.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["bash", "-c", "port=${OPERATIONS_PORT:-0}; ((port)) || port=$HTTP_PORT; exec 3<>\"/dev/tcp/127.0.0.1/$port\" && printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]

ENTRYPOINT ["/app/latchkey"]
CMD ["serve"]
