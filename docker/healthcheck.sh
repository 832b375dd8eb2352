#!/bin/sh
# Asks the service in this container whether it answers rankings: the image's HEALTHCHECK.
# The port's names, newest first, as app/nim_environment.py reads them.
set -eu
bind=${NIM_SERVER_BIND_ADDR:-${NIM_BIND_ADDR:-}}
port=${CROSSRANK_PORT:-}
# Kubernetes' service link of that name, tcp://10.0.0.1:8000, is no setting.
case $port in *://*) port='' ;; esac
port=${port:-${bind##*:}}
port=${port:-${NIM_SERVER_PORT:-${NIM_HTTP_API_PORT:-8000}}}
scheme=http
if [ -n "${CROSSRANK_TLS_CERT:-${NIM_TLS_CERT_PATH:-}}" ]; then
  scheme=https
fi
# The certificate is not checked: it names the service, not localhost.
exec curl --fail --silent --show-error --insecure --output /dev/null --max-time 4 \
  "$scheme://localhost:$port/v1/health/ready"
