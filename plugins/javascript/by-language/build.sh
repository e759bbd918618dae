#!/bin/sh
# Builds the component. Needs Node.js 20 or newer with npm; the rest is installed once, below `target`.
set -eu
cd "$(dirname "$0")"
tools=../../../target/tools/javascript
out=../../../target/plugins/by-language.wasm

node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' && npm --version > /dev/null || {
    echo "Node.js 20 or newer with npm is needed (Debian: nodejs, npm; or https://nodejs.org)" >&2
    exit 3
}
mkdir -p "$tools"
if ! cmp -s package-lock.json "$tools/node_modules/installed.json"; then
    cp package.json package-lock.json "$tools"
    (cd "$tools" && npm ci --no-audit --no-fund --silent)
    cp package-lock.json "$tools/node_modules/installed.json"
fi
mkdir -p "$(dirname "$out")"
# Without its clock, chance, streams and fetch the engine imports nothing but what the policy does.
"$tools/node_modules/.bin/jco" componentize policy.js --wit wit --world-name policy --disable all --out "$out"
