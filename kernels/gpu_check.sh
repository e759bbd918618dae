#!/bin/sh
# Checks and times the CUDA kernels on a Linux machine with an NVIDIA driver, in under ten minutes:
#   1. every kernel against its f64 reference, over the shapes that the emulator proves in CI,
#   2. compute-sanitizer over the small ones, where it is installed,
#   3. whole random models against the processor's engine,
#   4. `lockgate bench` beside the card's own copy bandwidth and bf16 matrix rate: one table.
# Run it from a built tree (it builds what it needs, which is not counted) or from the folder that `cargo xtask gpu-bundle`
# packed.
# Usage: gpu_check.sh [CARD]      the card's number, 0 by default. Results go to stdout, for kernels/RESULTS.md.
#
# Each part ends at a time of its own, so that the whole cannot take longer; what there was no time for is named. How long
# the benches should take is an estimate, by bytes and operations, not yet a measurement: each of nine models is made on
# the card once, its prompts are computed once for each depth, and 144 tokens are decoded at each batch and depth. On an
# H100, at half of what its memory copies and a sixth of the bf16 rate that it is sold with, that is 20 to 30 s for a
# model of 7 or 8 billion weights and 6 to 8 s for one of 1 billion: 160 s, beside what starting takes.
set -u
card=${1:-0}
here=$(cd "$(dirname "$0")" && pwd)
# When each part ends at the latest, in seconds: the benches have what the others leave.
kernels_end=120 sanitizer_end=210 models_end=300 all_end=590

if [ ! -x "$here/products" ]; then
    (cd "$here/.." && cargo xtask gpu-bundle) || exit 2
    here=$here/../target/gpu-bundle
fi
cd "$here" || exit 2
export LOCKGATE_CARD="$card"
begin=$(date +%s)
failed=0

seconds() { echo $(($(date +%s) - begin)); }
# Runs a command that has until so many seconds from the beginning. Ends with 124 where that was too little.
until_second() {
    time_left=$(($1 - $(seconds)))
    shift
    [ "$time_left" -gt 0 ] || return 124
    timeout -k 5 "$time_left" "$@"
}
# What a test program said, and when it was done.
told() {
    case $3 in
    0) echo "$1: $(grep '^test result' "$2") ($(seconds) s)" ;;
    124) echo "$1: no time left, after $(grep -c '\.\.\. ok$' "$2") tests that passed" ;;
    *)
        failed=1
        echo "$1: FAILED"
        grep -v '\.\.\. ok$' "$2" | tail -n 40
        ;;
    esac
}

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
    until_second $kernels_end "./$test" --test-threads=1 > "$test.log" 2>&1
    told "$test" "$test.log" $?
done
echo

if command -v compute-sanitizer > /dev/null; then
    echo "## compute-sanitizer"
    for tool in memcheck racecheck; do
        # A program, and which of its tests: those of few and small shapes.
        for small in limits rows random adapters "sampling equal_ impossible_ lists_ what_has" \
            "products share_a_launch" "attention heads_are copied_pages windows_and"; do
            # Unquoted: words are its arguments.
            until_second $sanitizer_end compute-sanitizer --tool "$tool" --error-exitcode 9 ./$small --test-threads=1 > sanitizer.log 2>&1
            case $? in
            0) echo "$tool $small: clean ($(seconds) s)" ;;
            124) echo "$tool $small: no time left" ;;
            *)
                failed=1
                echo "$tool $small: FAILED"
                tail -n 20 sanitizer.log
                ;;
            esac
        done
    done
else
    echo "compute-sanitizer is not installed: left out"
fi
echo

echo "## Whole models against the processor's engine"
until_second $models_end ./it cards:: choices:: made_there:: duplicates:: --skip smollm2 --skip passes_allocate --skip passes_bring --test-threads=1 > it.log 2>&1
told "whole models" it.log $?
echo

echo "## Speed"
echo
echo "| shape | weights | batch | depth | prefill | decode |"
echo "|---|---|---|---|---|---|"
limits=
benches=9
# Measures every batch and depth with one model, whatever of them fits: bench says how many bytes the others wanted. A model
# has an even share of the time that is left. Where that ends, or the bench does, what it had told by then counts, and the
# others have a row that says so. At the greatest depth the last token that is decoded ends the context of every shape.
bench() {
    shape=$1 quant=$2
    share=$(((all_end - $(seconds)) / benches))
    benches=$((benches - 1))
    [ "$share" -gt 0 ] || share=1
    timeout -k 5 "$share" ./lockgate bench --device "cuda:$card" --shape "$shape" --quant "$quant" \
        -b 1,8,32,128 -d 0,4096 --case 1x32704,8x32704 -p 4096 -n 64 -r 2 > bench.out 2> bench.log
    code=$?
    case $code in
    0) problem= ;;
    124) problem="not reached in $share s" ;;
    *)
        # With 2 for a card that has room for none of it, which is no fault.
        [ "$code" -eq 2 ] || failed=1
        problem="ended with $code: $(tail -n 1 bench.log | tr '|' '/')"
        ;;
    esac
    awk -v begin="| $shape | $quant" -v problem="$problem" '
        function row() {
            if (batch == "") return
            print begin " | " batch " | " depth " | " pp " | " tg " |"
            seen[batch, depth] = 1
        }
        /^batch / {
            row()
            split($0, words, /[ ,:]+/)
            batch = words[2]; depth = words[4]; pp = ""; tg = ""
            if (sub(/^batch [0-9]+, depth [0-9]+: /, "")) pp = $0
        }
        /^pp[0-9]/ { sub(/^pp[0-9]+ */, ""); pp = $0 }
        /^tg[0-9]/ { sub(/^tg[0-9]+ */, ""); tg = $0 }
        END {
            row()
            count = split("1 0 8 0 32 0 128 0 1 4096 8 4096 32 4096 128 4096 1 32704 8 32704", cases, " ")
            for (at = 1; at < count; at += 2)
                if (!((cases[at], cases[at + 1]) in seen))
                    print begin " | " cases[at] " | " cases[at + 1] " | " problem " | |"
        }' bench.out
    [ -n "$limits" ] || limits=$(sed -n 2p bench.out)
}
# What matters most comes first.
for shape in llama-3.1-8b llama-3.2-1b qwen2.5-7b; do
    for quant in q4_k_m q8_0 bf16; do
        bench "$shape" "$quant"
    done
done
echo
echo "$limits"
echo "$(seconds) s in all"
exit "$failed"
