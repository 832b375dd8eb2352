#!/bin/sh
# Writes the images' bills of materials, and the licences of what the service runs with: no tests, no tools.
# Usage: docker/sbom.sh PYTHON FOLDER
# The licences are those of the cpu image's packages, as PYTHON has them installed.
set -eu
cd "$(dirname "$0")/.."
python=$1
folder=$2
tools=${TOOLS:-.venv-tools/bin}
mkdir -p "$folder"

names=$(grep -ohE '^[a-z0-9][a-z0-9_.-]*' docker/requirements-cpu.lock docker/requirements-torch-cpu.lock)
# shellcheck disable=SC2086  # one argument a name
"$tools/pip-licenses" --python "$python" --from mixed --format markdown --with-urls \
  --order license --packages $names >"$folder/licences.md"

# One image's packages; versions and hashes from its locks: licences and descriptions are not in them.
sbom() {
  image=$1
  shift
  cat "$@" >"$folder/requirements-$image.txt"
  "$tools/cyclonedx-py" requirements "$folder/requirements-$image.txt" --pyproject pyproject.toml \
    --output-format JSON --output-reproducible --validate --output-file "$folder/sbom-$image.cdx.json"
}
sbom cpu docker/requirements-cpu.lock docker/requirements-torch-cpu.lock
sbom gpu docker/requirements-gpu.lock docker/requirements-tensorrt.lock
echo "$folder/sbom-cpu.cdx.json, $folder/sbom-gpu.cdx.json and $folder/licences.md"
