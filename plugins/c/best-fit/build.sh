#!/bin/sh
# Builds the component. Needs clang with its WebAssembly runtime, lld, wasi-libc, and `lockgate` itself.
set -eu
cd "$(dirname "$0")"
lockgate=${LOCKGATE:-lockgate}
work=../../../target/tools/c
out=../../../target/plugins/best-fit.wasm

for tool in clang wasm-ld "$lockgate"; do
    command -v "$tool" > /dev/null || missing="${missing:-}$tool "
done
[ -e "$(clang --print-resource-dir 2> /dev/null)/lib/wasi/libclang_rt.builtins-wasm32.a" ] || missing="${missing:-}libclang_rt "
[ -n "${WASI_SYSROOT:-}" ] || [ -e /usr/include/wasm32-wasi/stdlib.h ] || missing="${missing:-}wasi-libc "
if [ -n "${missing:-}" ]; then
    echo "missing: $missing(Debian: clang lld wasi-libc libclang-rt-dev-wasm32; elsewhere set WASI_SYSROOT to wasi-sdk's)" >&2
    exit 3
fi
mkdir -p "$(dirname "$out")" "$work"
"$lockgate" plugin bindings wit --world policy --out "$work"
# No main function: the host calls what the world exports. A small stack, since a fresh instance pays for its pages.
clang --target=wasm32-wasi ${WASI_SYSROOT:+--sysroot="$WASI_SYSROOT"} -mexec-model=reactor \
    -std=c17 -O2 -Wall -Wextra -I"$work" -Wl,-z,stack-size=32768 -Wl,--stack-first -Wl,--strip-debug \
    policy.c "$work"/policy.c "$work"/policy_component_type.o -o "$work"/module.wasm
"$lockgate" plugin componentize "$work"/module.wasm --out "$out"
