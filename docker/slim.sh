#!/bin/sh
# Takes out of an image's packages what a service never reads. Run in a build stage, before the image copies them.
# Usage: docker/slim.sh SITE_PACKAGES
set -eu
cd "$1"
before=$(du -sm . | cut -f1)
# PyTorch's C++ tests; of its programs it runs torch_shm_manager alone.
rm -rf torch/test
find torch/bin -type f ! -name torch_shm_manager -delete
# Its C++ headers: torch.compile may want them, which only runs where Triton is.
[ -d triton ] || rm -rf torch/include
# What PyTorch's own dependencies are tested with.
find numpy sympy mpmath networkx -type d -name tests -prune -exec rm -rf {} +
# Types, for editors and checkers.
find . -name '*.pyi' -delete
# To link other programs with.
find . -name '*.a' -delete
echo "$before MB of packages, now $(du -sm . | cut -f1) MB"
