#!/usr/bin/env bash
# Counts the instructions of one local write, one pulled row and one pushed operation, and compares them with the
# stored baseline: unlike times, they hardly depend on what else the machine does.
#
#   scripts/instructions.sh            compares; fails if a count is more than 5 percent above the baseline
#   scripts/instructions.sh --update   stores the counts as the new baseline
#
# A workload without a stored count is told, and not compared.
#
# Each count is the difference between two sizes of a workload of benches/src/bin/workloads, divided by the difference
# of the sizes, so that start and end do not count. Needs valgrind; without it nothing is compared, which fails in CI.
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=benches/baseline.instructions

if ! command -v valgrind >/dev/null; then
    if [[ "${CI:-}" == true ]]; then
        echo "instructions: there is no valgrind here, and CI must not skip this" >&2
        exit 1
    fi
    echo "instructions: SKIPPED, there is no valgrind here" >&2
    exit 0
fi

cargo build --quiet --release -p benches --bin workloads
program="${CARGO_TARGET_DIR:-target}/release/workloads"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# count WORKLOAD SIZE: the instructions of a run of this size
count() {
    # What a push stores together must not depend on the time that it takes.
    BENCH_N=$2 BENCH_SETTLE_WITHIN_MS=3600000 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$folder/$1.db" \
        >"$folder/out" 2>&1 || { cat "$folder/out" >&2; return 1; }
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$folder/out"
}

failed=0
counts=""
while read -r workload small large; do
    at_small=$(count "$workload" "$small")
    at_large=$(count "$workload" "$large")
    each=$(((at_large - at_small) / (large - small)))
    counts+="$workload $each"$'\n'
    expected=$(sed -n "s/^$workload //p" "$baseline" 2>/dev/null || true)
    echo "$workload: $each instructions each, baseline ${expected:-none}"
    if [[ "${1:-}" != --update && -n $expected ]] && ((each * 100 > expected * 105)); then
        echo "$workload: more than 5 percent above the baseline" >&2
        failed=1
    fi
done <<'SIZES'
w1 500 1500
w2 2000 6000
w4 500 1500
SIZES

if [[ "${1:-}" == --update ]]; then
    printf '%s' "$counts" >"$baseline"
fi
exit $failed
