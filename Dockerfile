# One recipe for the five services:
#
#     docker build --build-arg SERVICE=delivery -t bellhop/delivery .
#
# An image holds the common library and one service, with that service's packages at
# the pinned versions, checked by their hashes.

# The Python that constraints.txt was made with and the tests run on.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS packages
ARG SERVICE
WORKDIR /build
COPY pyproject.toml constraints.txt deploy/image/lock.py ./
RUN python -m venv /venv \
 && python lock.py wanted "${SERVICE:?give --build-arg SERVICE=…}" > wanted.txt \
 && python lock.py pins > pins.txt \
 && /venv/bin/pip install --quiet --dry-run --report report.json -c pins.txt -r wanted.txt \
 && python lock.py locked report.json > locked.txt \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r locked.txt \
 && /venv/bin/pip check

FROM python:${PYTHON_VERSION}-slim
ARG SERVICE
RUN useradd --system --uid 10001 --user-group --no-create-home bellhop
WORKDIR /app
COPY --from=packages /venv /venv
COPY libs libs
COPY services/__init__.py services/__init__.py
COPY services/${SERVICE} services/${SERVICE}
# Compiled here: the file system of a container may be read-only.
RUN python -m compileall -q libs services

ENV PATH=/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    SERVICE=${SERVICE} \
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
