#!/bin/sh
# Draws the dashboard as Grafana's own components do, without a Grafana: needs node, npm and chromium.
# Usage: docker/grafana/render/render.sh DASHBOARD.json PICTURE.png   (the first by python -m loadtests.dashboard)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
content=$(realpath "$1")
picture=$(realpath "$2")
build=$here/../../../build/render
mkdir -p "$build"
cp "$here/package.json" "$here/render.jsx" "$build"
cd "$build"
npm install --silent --no-audit --no-fund --legacy-peer-deps
node_modules/.bin/esbuild render.jsx --bundle --outfile=bundle.js --log-level=error \
  --loader:.svg=text --loader:.ttf=dataurl --loader:.woff2=dataurl \
  --define:process.env.NODE_ENV='"production"' --define:global=window
{
  echo '<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="bundle.css"><div id="root"></div>'
  echo '<script>window.process = {env: {}}; window.DASHBOARD ='
  cat "$content"
  echo '</script><script src="bundle.js"></script>'
} >page.html
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --virtual-time-budget=8000 \
  --window-size=1440,1520 --screenshot="$picture" "file://$PWD/page.html"
