#!/bin/sh
# Builds the component. Needs Python 3.10 or newer with its venv module; the rest is installed once, below `target`.
set -eu
cd "$(dirname "$0")"
tools=../../../target/tools/python
out=../../../target/plugins/office-hours.wasm

python3 -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' || {
    echo "Python 3.10 or newer with its venv module is needed (Debian: python3-venv)" >&2
    exit 3
}
if ! cmp -s requirements.txt "$tools/installed.txt"; then
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$tools/installed.txt"
fi
mkdir -p "$(dirname "$out")"
"$tools/bin/componentize-py" --quiet -d wit -w policy componentize policy -o "$out"
