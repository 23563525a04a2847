#!/usr/bin/env bash
# Checks the book's table of promises: P1 to P18 are there, and every test it names exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

table=docs/src/promises.md
faults=0
fault() {
  echo "$table: $1"
  faults=$((faults + 1))
}

for number in {1..18}; do
  grep -q "^| P$number |" "$table" || fault "lacks P$number"
done

functions=$(find . \( -path ./target -o -path ./.git \) -prune -o -name '*.rs' -print0 |
  xargs -0 grep -hoE '\bfn [a-z0-9_]+' | sed 's/^fn //' | sort -u)
while read -r name; do
  grep -qxF "$name" <<<"$functions" || fault "there is no test $name"
done < <(awk -F'|' '/^\| P[0-9]/ { print $4 }' "$table" | grep -oE '`[a-z0-9_]+`' | tr -d '`')

((faults == 0)) || { echo "$faults faults"; exit 1; }
echo "every test named in $table exists"
