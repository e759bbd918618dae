#!/bin/sh
# Checks and times the CUDA kernels on a Linux machine with an NVIDIA driver, in under ten minutes:
#   1. every kernel against its f64 reference, over the shapes that the emulator proves in CI,
#   2. compute-sanitizer over the small ones, where it is installed,
#   3. whole random models against the processor's engine,
#   4. `lockgate bench` beside the card's own copy bandwidth and bf16 matrix rate: one table.
# Run it from a built tree (it builds what it needs) or from the folder that `cargo xtask gpu-bundle` packed.
# Usage: gpu_check.sh [CARD]      the card's number, 0 by default. Results go to stdout, for kernels/RESULTS.md.
set -u
card=${1:-0}
here=$(cd "$(dirname "$0")" && pwd)
begin=$(date +%s)
# Benches begin no later than this, in seconds, so that all is over in ten minutes.
last=480

if [ ! -x "$here/products" ]; then
    (cd "$here/.." && cargo xtask gpu-bundle) || exit 2
    here=$here/../target/gpu-bundle
fi
cd "$here" || exit 2
export LOCKGATE_CARD="$card"
failed=0

seconds() { echo $(($(date +%s) - begin)); }

echo "## Card $card"
echo
"./lockgate" doctor | grep "cuda:$card" || { "./lockgate" doctor | grep '^cards'; echo "there is no card $card"; exit 2; }
"./lockgate" doctor | grep '^bf16 products'
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --id="$card" --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader
fi
grep '^sources' manifest.txt
echo

echo "## Every kernel against its reference"
for test in limits rows random products attention sampling adapters; do
    if "./$test" --test-threads=1 > "$test.log" 2>&1; then
        echo "$test: $(grep '^test result' "$test.log") ($(seconds) s)"
    else
        failed=1
        echo "$test: FAILED"
        grep -v '\.\.\. ok$' "$test.log" | tail -n 40
    fi
done
echo

if command -v compute-sanitizer > /dev/null; then
    echo "## compute-sanitizer"
    for tool in memcheck racecheck; do
        # A program, and which of its tests: those of few and small shapes.
        for small in limits rows adapters "sampling equal_ impossible_ lists_ what_has" \
            "products share_a_launch" "attention heads_are copied_pages windows_and"; do
            # Unquoted: words are its arguments.
            if timeout 40 compute-sanitizer --tool "$tool" --error-exitcode 9 ./$small --test-threads=1 > sanitizer.log 2>&1; then
                echo "$tool $small: clean ($(seconds) s)"
            else
                failed=1
                echo "$tool $small: FAILED or over 40 s"
                tail -n 20 sanitizer.log
            fi
            # What is left of the time is for the benches.
            [ "$(seconds)" -lt 240 ] || { echo "$tool: the rest is left out for want of time"; break; }
        done
    done
else
    echo "compute-sanitizer is not installed: left out"
fi
echo

echo "## Whole models against the processor's engine"
if ./it cards:: choices:: made_there:: --skip smollm2 --skip passes_allocate --skip passes_bring --test-threads=1 > it.log 2>&1; then
    echo "$(grep '^test result' it.log) ($(seconds) s)"
else
    failed=1
    echo "FAILED"
    grep -v '\.\.\. ok$' it.log | tail -n 40
fi
echo

echo "## Speed"
echo
echo "| shape | weights | batch | depth | prefill | decode |"
echo "|---|---|---|---|---|---|"
limits=
left_out=
# Measures batches and depths with one loaded model, whatever of them fits: bench says how many bytes the others wanted.
# A run that takes too long is ended, with what it has told so far.
bench() {
    shape=$1 quant=$2 batches=$3 depths=$4 prefill=$5
    left=$((580 - $(seconds)))
    if [ "$(seconds)" -gt "$last" ]; then
        left_out="$left_out $shape/$quant/$batches/$depths"
        return
    fi
    [ "$left" -lt 100 ] || left=100
    timeout "$left" ./lockgate bench --device "cuda:$card" --shape "$shape" --quant "$quant" \
        --batch "$batches" --depth "$depths" -p "$prefill" -n 64 -r 2 > bench.out 2> bench.log
    code=$?
    awk -v begin="| $shape | $quant" '
        function row() { if (batch != "") print begin " | " batch " | " depth " | " pp " | " tg " |" }
        /^batch / {
            row()
            split($0, words, /[ ,:]+/)
            batch = words[2]; depth = words[4]; pp = ""; tg = ""
            if (sub(/^batch [0-9]+, depth [0-9]+: /, "")) pp = $0
        }
        /^pp[0-9]/ { sub(/^pp[0-9]+ */, ""); pp = $0 }
        /^tg[0-9]/ { sub(/^tg[0-9]+ */, ""); tg = $0 }
        END { row() }' bench.out
    [ "$code" -eq 0 ] || echo "| $shape | $quant | $batches | $depths | ended by $code: $(tail -n 1 bench.log | tr '|' '/') | |"
    [ -n "$limits" ] || limits=$(sed -n 2p bench.out)
}
# What matters most comes first: the machine's time may not suffice for all. At the greatest depth the last token that is
# decoded ends the context of every shape.
for shape in llama-3.1-8b llama-3.2-1b qwen2.5-7b; do
    for quant in q4_k_m q8_0 bf16; do
        bench "$shape" "$quant" 1,8,32,128 0,4096 4096
    done
done
for shape in llama-3.1-8b llama-3.2-1b qwen2.5-7b; do
    for quant in q4_k_m q8_0 bf16; do
        bench "$shape" "$quant" 1,8 32704 0
    done
done
echo
echo "$limits"
[ -z "$left_out" ] || echo "left out for want of time:$left_out"
echo "$(seconds) s in all"
exit "$failed"
