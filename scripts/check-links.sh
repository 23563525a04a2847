#!/usr/bin/env bash
# Checks the book and the other texts: every chapter of the summary is there, every chapter is in the summary, and
# every relative link leads to a file. Builds the book too if mdbook is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

faults=0
fault() {
  echo "$1"
  faults=$((faults + 1))
}

# The targets of the links of a file, one a line, without those in code blocks.
links() {
  awk '/^ *```/ { code = !code; next } !code' "$1" | grep -oE '\]\([^) ]+\)' | sed -E 's/^\]\(//; s/\)$//' || true
}

summary=docs/src/SUMMARY.md
while read -r chapter; do
  [[ $chapter == SUMMARY.md ]] || grep -qF "($chapter)" "$summary" || fault "$summary: lacks $chapter"
done < <(cd docs/src && find . -name '*.md' | sed 's|^\./||' | sort)

while IFS= read -r -d '' file; do
  while read -r target; do
    case $target in
      '' | '#'* | *://* | mailto:*) continue ;;
    esac
    [[ -e $(dirname "$file")/${target%%#*} ]] || fault "$file: $target is not there"
  done < <(links "$file")
done < <(find . \( -path ./target -o -path ./.git -o -path ./data -o -path ./docs/book \) -prune -o -name '*.md' -print0)

if command -v mdbook >/dev/null; then
  output=$(mktemp -d)
  trap 'rm -rf "$output"' EXIT
  mdbook build docs --dest-dir "$output" || fault "docs: mdbook does not build it"
fi

((faults == 0)) || { echo "$faults faults"; exit 1; }
echo "all links lead somewhere"
