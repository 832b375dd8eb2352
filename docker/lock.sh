#!/bin/sh
# Writes the lock files: every package of an image, its version, and the hashes of its files.
# Usage: docker/lock.sh [FOLDER]
# Versions come from constraints.txt; CUDA's libraries, which only the gpu image has, are fixed here.
# PyTorch's CPU wheel is not on the default index, so it has a lock of its own, written by hand.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-docker}
uv=${UV:-.venv-tools/bin/uv}

# The images' Python and platform, so that a lock is the same wherever it is made.
compile() {
  "$uv" pip compile --quiet pyproject.toml --extra otel --constraint constraints.txt \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --generate-hashes --no-header --no-annotate "$@"
}

head() {
  echo "# The $1 image's packages, written by \`make lock\`: change pyproject.toml or constraints.txt instead."
}

# The TensorRT extra belongs to the gpu image as soon as the project has one.
set --
if grep -q '^tensorrt = ' pyproject.toml; then
  set -- --extra tensorrt
fi
gpu=$(compile "$@")
{ head gpu && echo "$gpu"; } >"$folder/requirements-gpu.lock"

# Without PyTorch's default wheel, and without what only that wheel asks for.
set -- --no-emit-package torch
for name in $(echo "$gpu" | grep -oE '^(nvidia|cuda|triton)[a-z0-9-]*'); do
  set -- "$@" --no-emit-package "$name"
done
cpu=$(compile "$@")
{ head cpu && echo "$cpu"; } >"$folder/requirements-cpu.lock"
