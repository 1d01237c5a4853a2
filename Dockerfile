# syntax=docker/dockerfile:1
# Service, watch and demo, no PyTorch:     docker build -t spatterlib .
# with PyTorch, to train in it as well:    docker build --build-arg EXTRAS=demo,live,onnx,torch -t spatterlib:torch .
# A version, no digest: a digest is of an image that somebody has looked at. Give yours: --build-arg BASE=python@sha256:...
ARG BASE=python:3.12.12-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG EXTRAS=demo,live,onnx
# Where pip looks besides; empty: where it always does. For a PyTorch without CUDA name the index that has it.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
# This layer holds as long as the dependencies and their versions do, whatever changes in the sources.
COPY deploy/dependencies.py deploy/constraints.txt deploy/
COPY pyproject.toml ./
COPY plugins/spatterlib-serve/pyproject.toml plugins/spatterlib-serve/
RUN python -m venv /opt/spatterlib && \
    python deploy/dependencies.py "${EXTRAS}" pyproject.toml plugins/spatterlib-serve/pyproject.toml > wanted.txt && \
    /opt/spatterlib/bin/pip install --no-cache-dir -r wanted.txt -c deploy/constraints.txt
COPY README.md LICENSE pytest_spatterlib.py ./
COPY spatterlib spatterlib
COPY demo/spatterlib_demo demo/spatterlib_demo
COPY plugins/spatterlib-serve plugins/spatterlib-serve
RUN /opt/spatterlib/bin/pip install --no-cache-dir --no-deps . ./plugins/spatterlib-serve && \
    /opt/spatterlib/bin/pip check

# hadolint ignore=DL3006
FROM ${BASE}
RUN useradd --uid 10001 --home-dir /data --create-home --shell /usr/sbin/nologin spatter
COPY --from=build /opt/spatterlib /opt/spatterlib
# Compiled kernels are kept in /data: the first job compiles, the others after it do not.
ENV PATH=/opt/spatterlib/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SPATTERLIB_SERVE_DATA=/data/jobs \
    SPATTERLIB_SERVE_MODELS=/models \
    NUMBA_CACHE_DIR=/data/.kernels \
    MPLCONFIGDIR=/data/.matplotlib
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000 7860 8080 9105
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["spatterlib", "serve", "--host", "0.0.0.0", "--port", "8000"]
