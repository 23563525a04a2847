#!/usr/bin/env bash
# Runs the official Appwrite SDKs against the stand-in: node-appwrite, the realtime of the web SDK, the Python SDK and
# the Rust crate. Each runs the steps of test-servers/appwrite/sdk/script.json.
#
#   scripts/appwrite-sdks.sh [js] [py] [rust]      all three if none is named
#
# Needs node, npm, python3 and the package registries. What it installs goes to target/appwrite-sdks, or to
# APPWRITE_SDK_DIR. The Rust crate takes a minute or two to build the first time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sdks=$PWD/test-servers/appwrite/sdk
target=${CARGO_TARGET_DIR:-$PWD/target}
work=${APPWRITE_SDK_DIR:-$PWD/target/appwrite-sdks}
languages=("$@")
((${#languages[@]} > 0)) || languages=(js py rust)
mkdir -p "$work"

cargo build --quiet --package appwrite-stand-in --bin appwrite-stand-in
description=$(mktemp)
rm "$description"
"$target/debug/appwrite-stand-in" --port 0 --port-file "$description" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -f "$description"' EXIT
for _ in $(seq 100); do
  [[ -e $description ]] && break
  kill -0 "$server" || { echo "the stand-in did not start"; exit 1; }
  sleep 0.1
done

for language in "${languages[@]}"; do
  case $language in
    js)
      mkdir -p "$work/js"
      cp "$sdks"/js/* "$work/js"
      npm install --prefix "$work/js" --no-package-lock --ignore-scripts --no-audit --no-fund --silent
      node "$work/js/run.mjs" "$description" "$sdks/script.json"
      node "$work/js/realtime.mjs" "$description"
      ;;
    py)
      [[ -e $work/py/bin/pip ]] || python3 -m venv "$work/py"
      "$work/py/bin/pip" install --quiet --disable-pip-version-check --requirement "$sdks/py/requirements.txt"
      "$work/py/bin/python" "$sdks/py/run.py" "$description" "$sdks/script.json"
      ;;
    rust)
      cargo run --quiet --locked --manifest-path "$sdks/rust/Cargo.toml" --target-dir "$work/rust" -- \
        "$description" "$sdks/script.json"
      ;;
    *)
      echo "$language is not one of js, py, rust"
      exit 2
      ;;
  esac
done
