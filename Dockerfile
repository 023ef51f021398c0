# One recipe for the five services, and for the command line:
#
#     docker build --build-arg SERVICE=delivery -t bellhop/delivery .
#     docker build --build-arg SERVICE=tools --target tools -t bellhop/tools .
#
# An image holds the common library and one service, with that service's packages at
# the pinned versions, checked by their hashes, and the list of them in /app/sbom.json.
# Nothing is compiled, so that `docker buildx build --platform linux/amd64,linux/arm64`
# takes the packages that were built for each.

# The Python that constraints.txt was made with and the tests run on.  The workflow of a
# release looks up its digest, once for all images, and gives it with that.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ARG SERVICE
ARG VERSION=0
WORKDIR /build
COPY pyproject.toml constraints.txt deploy/image/lock.py ./
RUN python -m venv /venv \
 && python lock.py wanted "${SERVICE:?give --build-arg SERVICE=…}" > wanted.txt \
 && python lock.py pins > pins.txt \
 && /venv/bin/pip install --quiet --dry-run --only-binary :all: \
      --report report.json -c pins.txt -r wanted.txt \
 && python lock.py locked report.json > locked.txt \
 && /venv/bin/pip install --no-cache-dir --only-binary :all: --no-deps \
      --require-hashes -r locked.txt \
 && /venv/bin/pip check \
 && python lock.py sbom report.json "bellhop-${SERVICE}" "${VERSION}" > sbom.json

# The dashboard, which the streamer serves; other services have none.  It is the same for
# every processor, and npm is slow on one that is only imitated.
FROM --platform=$BUILDPLATFORM ${PYTHON_IMAGE} AS pages
ARG SERVICE
WORKDIR /build
COPY libs/cli/bootstrap.py libs/cli/pages.py libs/cli/
COPY services/streamer/dashboard services/streamer/dashboard
RUN mkdir -p /made/services \
 && if [ "$SERVICE" = streamer ]; then \
      python libs/cli/pages.py /build/environment \
      && mkdir /made/services/streamer \
      && mv services/streamer/pages /made/services/streamer/pages; \
    fi

# What all images have.
FROM ${PYTHON_IMAGE} AS common
ARG SERVICE
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bellhop-${SERVICE}" \
      org.opencontainers.image.description="Bellhop: ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin bellhop
WORKDIR /app
COPY --from=packages /venv /venv
COPY --from=packages /build/sbom.json sbom.json
COPY libs libs
# Compiled here: the file system of a container may be read-only.
RUN python -m compileall -q libs
ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

# `bellhop`, with what it needs to back up, restore and examine a house, and to ask one.
FROM common AS tools
RUN printf '#!/bin/sh\nexec python -m libs.cli "$@"\n' > /venv/bin/bellhop \
 && chmod 755 /venv/bin/bellhop
USER 10001:10001
ENTRYPOINT ["bellhop"]
CMD ["--help"]

# The last one is what is built where no target is named.
FROM common AS service
ARG SERVICE
COPY services/__init__.py services/__init__.py
COPY services/${SERVICE} services/${SERVICE}
COPY --from=pages /made/ ./
RUN python -m compileall -q services

ENV SERVICE=${SERVICE} \
    BELLHOP_HEALTH_HOST=0.0.0.0 \
    BELLHOP_HEALTH_PORT=9090 \
    BELLHOP_HTTP_HOST=0.0.0.0 \
    BELLHOP_GRPC_HOST=0.0.0.0
USER 10001:10001
EXPOSE 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['BELLHOP_HEALTH_PORT'] + '/health/live', timeout=2)"]
# exec: the service is process 1 and hears SIGTERM itself.
CMD ["sh", "-c", "exec python -m services.$SERVICE"]
