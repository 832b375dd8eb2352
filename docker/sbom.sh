#!/bin/sh
# Writes the bill of materials and the licences of what the service runs with: no tests, no tools.
# Usage: docker/sbom.sh PYTHON FOLDER
# The packages are those that docker/requirements-cpu.lock names, and PyTorch, as PYTHON has them installed.
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

# Versions and hashes from the locks; licences and descriptions are not in them.
cat docker/requirements-cpu.lock docker/requirements-torch-cpu.lock >"$folder/requirements.txt"
"$tools/cyclonedx-py" requirements "$folder/requirements.txt" --pyproject pyproject.toml \
  --output-format JSON --output-reproducible --validate --output-file "$folder/sbom.cdx.json"
echo "$folder/sbom.cdx.json and $folder/licences.md"
