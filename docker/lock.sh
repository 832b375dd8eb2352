#!/bin/sh
# Writes the lock files: every package of an image, its version, and the hashes of its files.
# Usage: docker/lock.sh [FOLDER]
# Versions come from constraints.txt; what is not named there, CUDA's libraries, keeps the version it has
# in the lock. Delete a lock to move those.
# PyTorch's CPU wheel is not on the default index, so it has a lock of its own, written by hand.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-docker}
uv=${UV:-.venv-tools/bin/uv}

# The images' Python and platform, so that a lock is the same wherever it is made.
compile() {
  lock=requirements-$1.lock what=$2
  shift 2
  [ ! -f "docker/$lock" ] || [ "$folder" = docker ] || cp "docker/$lock" "$folder/$lock"
  "$uv" pip compile --quiet pyproject.toml --extra otel --constraint constraints.txt \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
    --generate-hashes --no-header --no-annotate --output-file "$folder/$lock" "$@" >/dev/null
  packages=$(cat "$folder/$lock")
  head="# $what, written by \`make lock\`: change pyproject.toml or constraints.txt instead."
  printf '%s\n' "$head" "$packages" >"$folder/$lock"
}

# Options that leave packages out of a lock: those of another lock, of which the pattern holds.
without() {
  grep -oE "^$2" "$folder/requirements-$1.lock" | sed 's/^/--no-emit-package /'
}

compile gpu "The gpu image's packages but for TensorRT"
# shellcheck disable=SC2046  # one argument a word
compile tensorrt "What TensorRT adds to the gpu image" --extra tensorrt $(without gpu '[a-z0-9][a-z0-9_.-]*')
# Without PyTorch's default wheel, and without what only that wheel asks for.
# shellcheck disable=SC2046
compile cpu "The cpu image's packages but for PyTorch" $(without gpu '(torch|nvidia|cuda|triton)[a-z0-9-]*')
