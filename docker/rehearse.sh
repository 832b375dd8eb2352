#!/bin/sh
# Serves once, asks for one ranking, and stops: an image that cannot is not built, and Python leaves behind
# the bytecode of what serving imports. Usage: docker/rehearse.sh, with the service's settings in the environment
set -eu
export PYTHONDONTWRITEBYTECODE=
crossrank serve &
service=$!
until "$(dirname "$0")/healthcheck.sh" 2>/dev/null; do
  kill -0 $service
  sleep 1
done
curl --fail --silent --show-error --json '{"query":{"text":"why rain?"},"passages":[{"text":"clouds cool"}]}' \
  "http://localhost:${CROSSRANK_PORT:-8000}/v1/ranking"
kill -TERM $service
wait $service
