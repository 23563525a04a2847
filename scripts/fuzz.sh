#!/usr/bin/env bash
# Fuzzes every reader of `fuzz/`, or those that are named, and fails if one of them finds something.
#
#   scripts/fuzz.sh [--seconds N] [--keep FOLDER] [TARGET...]
#
# N seconds for each, 5 if nothing is said. Inputs that lead somewhere new are kept in FOLDER/TARGET and used by the next
# run; without FOLDER they are forgotten. An input that breaks a promise is left in fuzz/artifacts/TARGET.
#
# Any compiler will do, stable ones too: coverage comes from options of LLVM. Sanitizers need another one (cargo +nightly
# fuzz run TARGET). A C++ compiler builds libFuzzer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=5
keep=
targets=()
while (($#)); do
  case $1 in
    --seconds) seconds=${2:?how many}; shift ;;
    --keep) keep=${2:?which folder}; shift ;;
    -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    -*) echo "fuzz: unknown option $1 (see scripts/fuzz.sh --help)" >&2; exit 2 ;;
    *) targets+=("$1") ;;
  esac
  shift
done
if ((${#targets[@]} == 0)); then
  for program in fuzz/fuzz_targets/*.rs; do targets+=("$(basename "$program" .rs)"); done
fi
if ! command -v "${CXX:-c++}" >/dev/null; then
  if [[ ${CI:-} == true ]]; then
    echo "fuzz: no C++ compiler, which libFuzzer needs" >&2
    exit 1
  fi
  echo "fuzz: SKIPPED, no C++ compiler, which libFuzzer needs"
  exit 0
fi

# The versions that everything else is tested with.
cp Cargo.lock fuzz/Cargo.lock

host=$(rustc -vV | sed -n 's/^host: //p')
# A folder of its own: these options would have everything else compiled again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
export RUSTFLAGS="${RUSTFLAGS:-} --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
cargo build --release --manifest-path fuzz/Cargo.toml --target "$host" --bins

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()
for target in "${targets[@]}"; do
  corpus=${keep:-$work}/$target
  artifacts=fuzz/artifacts/$target
  mkdir -p "$corpus" "$artifacts"
  status=0
  FUZZ_SEEDS=$corpus "$CARGO_TARGET_DIR/$host/release/$target" "$corpus" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$artifacts/" >"$work/log" 2>&1 || status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
  if ((status == 0)); then
    echo "$target: ${runs:-no} inputs in $seconds s, nothing found"
    rmdir --ignore-fail-on-non-empty -p "$artifacts"
  else
    cat "$work/log"
    echo "$target: FAILED after ${runs:-an unknown number of} inputs"
    failed+=("$target")
  fi
done
if ((${#failed[@]})); then
  echo "fuzz: something was found in ${failed[*]}" >&2
  exit 1
fi
