#!/bin/sh
# The gpu image's entry point: `crossrank`, told where torch may keep the kernels that it makes for the GPU.
# It loads them as libraries, which the mount of /dev/shm (TMPDIR) forbids: the cache, where that can be written
# to. Elsewhere they cannot be loaded, and the log says which steps run unfused.
set -eu
cache=${CROSSRANK_CACHE_DIR:-${NIM_CACHE_PATH:-/opt/nim/.cache}}
if mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; then
  export TORCHINDUCTOR_CACHE_DIR="${TORCHINDUCTOR_CACHE_DIR:-$cache/torchinductor}"
fi
exec crossrank "$@"
