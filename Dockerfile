# syntax=docker/dockerfile:1
# The service, light by default:        docker build -t spatterlib .
# with PyTorch, to train in it as well: docker build --build-arg EXTRAS=torch -t spatterlib:torch .
ARG BASE=python:3.12-slim-bookworm

# hadolint ignore=DL3006
FROM ${BASE} AS build
ARG EXTRAS=onnx
# Where pip looks besides; empty: where it always does. For a PyTorch without CUDA name the index that has it.
ARG PIP_EXTRA_INDEX_URL=
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY spatterlib spatterlib
COPY plugins/spatterlib-serve plugins/spatterlib-serve
RUN python -m venv /opt/spatterlib && \
    /opt/spatterlib/bin/pip install --no-cache-dir ".[${EXTRAS}]" ./plugins/spatterlib-serve

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
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["spatterlib", "serve", "--host", "0.0.0.0", "--port", "8000"]
