# The service's image, for two kinds of machine from one file:
#   docker build --target cpu -t crossrank:cpu --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's CPU index> .
#   docker build --target gpu -t crossrank:gpu .
# docker/README.md says how to run them.

# CPython 3.11, for which the locks are made; a mirror's or a company's image goes here.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS base
# NIM's compose files and charts check health with curl, inside the container; so does HEALTHCHECK.
# No version: Debian keeps only the newest, and the base image's tag already moves with its fixes.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends curl \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
# Where NIM keeps its cache. Any uid may write there, with a volume or without.
RUN mkdir -p /opt/nim/.cache && chmod 1777 /opt/nim/.cache
# The commands first on the path. Nothing is written beside the code: the root may be read-only.
# NIM_CACHE_PATH and not our own name, so that an operator's or a chart's value wins over it.
# /dev/shm is the one place a container with a read-only root can write to; PyTorch's import wants one.
ENV PATH=/opt/crossrank/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NIM_CACHE_PATH=/opt/nim/.cache \
    HF_HOME=/opt/nim/.cache/huggingface \
    HOME=/opt/nim/.cache \
    TMPDIR=/dev/shm
# What `docker run IMAGE` was made from; the last one tells NIM's operator to fetch models with
# NIM_ENGINE_MODEL_DOWNLOAD_ONLY=1 and NIM_ENGINE_MODEL_PATH.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="crossrank" \
      org.opencontainers.image.description="An open reranking microservice that speaks NVIDIA's reranking NIM API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      com.nvidia.nim.model_download_protocol="native-v1"
WORKDIR /opt/crossrank
# Documentation only: CROSSRANK_PORT moves it.
EXPOSE 8000
# Ready means: send traffic. The first start of a large model may download and build for a long time.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["/opt/crossrank/docker/healthcheck.sh"]
# `docker run IMAGE` serves; `docker run IMAGE rank …` is that command.
ENTRYPOINT ["crossrank"]
CMD ["serve"]

FROM base AS packages
# pip unpacks here what it downloads: a wheel with CUDA does not fit into the 64 MB of /dev/shm.
ENV TMPDIR=/tmp
# An environment of its own, which the images copy whole; pip stays behind in this stage.
RUN python3 -m venv /opt/crossrank/.venv
# The locks alone, so that this and the next layers are made again only when a lock changes.
COPY docker/requirements-*.lock docker/

FROM packages AS cpu-packages
# Where PyTorch's CPU wheel is found, by either of pip's names; it is not on the default index.
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_FIND_LINKS=
# Every file is checked against its hash. Without a place for the CPU wheel, the default one serves too.
# No bytecode yet: most of it would never be read.
RUN if [ -n "${PIP_EXTRA_INDEX_URL}${PIP_FIND_LINKS}" ]; then \
      pip install --no-cache-dir --no-compile --require-hashes \
        -r docker/requirements-cpu.lock -r docker/requirements-torch-cpu.lock; \
    else \
      echo "No PIP_EXTRA_INDEX_URL: PyTorch's default wheel, with CUDA, several GB larger" >&2; \
      pip install --no-cache-dir --no-compile --require-hashes -r docker/requirements-gpu.lock; \
    fi

FROM packages AS gpu-packages
# A mirror of the package index, where the default one cannot be reached.
ARG PIP_INDEX_URL=
ARG PIP_EXTRA_INDEX_URL=
ARG PIP_FIND_LINKS=
# CUDA comes with PyTorch's wheels, so that both targets share a base; the host brings the driver.
RUN pip install --no-cache-dir --require-hashes -r docker/requirements-gpu.lock
# TensorRT's packages fetch their libraries from NVIDIA's own index while they are installed. Where that
# cannot be reached, --build-arg TENSORRT=no leaves them out, and torch runs the model on the GPU.
ARG TENSORRT=yes
# A lock of its own, so that the choice is made here.
RUN if [ "${TENSORRT}" != no ]; then \
      pip install --no-cache-dir --require-hashes -r docker/requirements-tensorrt.lock \
        || { echo "TensorRT cannot be installed; --build-arg TENSORRT=no leaves it out" >&2; exit 1; }; \
    fi

# The project over either set of packages: one recipe, two stages.
FROM cpu-packages AS cpu-project
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY engine engine
# Registers the commands and the version; its own packages were all installed above.
RUN pip install --no-cache-dir --no-compile --no-deps --no-build-isolation -e . \
 && pip uninstall -y pip
# The scripts of these two layers, and what HEALTHCHECK runs.
COPY docker/*.sh docker/
# Tests, headers, types: a quarter of all packages.
RUN docker/slim.sh .venv/lib/python3*/site-packages
# One answer, which writes the bytecode that serving reads; a read-only root could not keep it later.
RUN --mount=type=bind,source=models/mini,target=/opt/crossrank/models/mini docker/rehearse.sh

FROM gpu-packages AS gpu-project
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY engine engine
# Registers the commands and the version; its own packages were all installed above.
RUN pip install --no-cache-dir --no-deps --no-build-isolation -e . \
 && pip uninstall -y pip \
 && python3 -m compileall -q app engine
# The script of the next layer, and what HEALTHCHECK and ENTRYPOINT run.
COPY docker/*.sh docker/
# Tests and types. All bytecode stays: what a GPU makes torch import is not known here.
RUN docker/slim.sh .venv/lib/python3*/site-packages

FROM base AS gpu
# Triton makes torch's kernels for the GPU at hand, and compiles their launcher with the C compiler that it finds.
# A base without Python's headers, which that takes, fails here. No version, as above.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && test -f "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
# NVIDIA's container runtime reads the first two: all GPUs, and what the driver offers for computing.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NIM_ENGINE_MODEL_NAME=nvidia/llama-nemotron-rerank-1b-v2
# Packages and project; no weights: they are downloaded into the cache, under their own licence.
COPY --from=gpu-project /opt/crossrank /opt/crossrank
# As above, but for torch's cache.
ENTRYPOINT ["/opt/crossrank/docker/entrypoint.sh"]
# An entry point resets what is run by itself.
CMD ["serve"]
# Not root, and a number, so that Kubernetes can tell; any other works too.
USER 1000:1000

FROM base AS cpu
# Packages and project.
COPY --from=cpu-project /opt/crossrank /opt/crossrank
# The shipped checkpoint, so that the first answer needs no network.
COPY models/mini models/mini
# Not root, and a number, so that Kubernetes can tell; any other works too.
USER 1000:1000
