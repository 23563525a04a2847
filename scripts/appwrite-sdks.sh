#!/usr/bin/env bash
# Runs the official Appwrite SDKs against the stand-in: node-appwrite, the realtime of the web SDK, the Python SDK and
# the Rust crate. Each runs the steps of test-servers/appwrite/sdk/script.json. Its status says whether all of them
# passed; every one is run, also after another failed.
#
#   scripts/appwrite-sdks.sh [js] [py] [rust]      all three if none is named
#
# APPWRITE_STAND_IN names the program of the stand-in if it is built already.
#
# Needs cargo, node, npm, and python3 with pip. What it installs from npm and PyPI goes into data/appwrite-sdks, which is
# not under version control, and the crate is built in target/appwrite-sdks. What is there already is not installed again.
# The crate takes a minute or two to build the first time; after that all of it takes some ten seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

languages=("$@")
((${#languages[@]} > 0)) || languages=(js py rust)
needed=(cargo)
for language in "${languages[@]}"; do
  case $language in
    js) needed+=(node npm) ;;
    py) needed+=(python3) ;;
    rust) ;;
    *) echo "appwrite-sdks: $language is not one of js, py, rust" >&2; exit 2 ;;
  esac
done
for tool in "${needed[@]}"; do
  command -v "$tool" >/dev/null || { echo "appwrite-sdks: $tool is needed and not there" >&2; exit 1; }
done

readonly sdks=$PWD/test-servers/appwrite/sdk
readonly target=${CARGO_TARGET_DIR:-$PWD/target}
readonly home=$PWD/data/appwrite-sdks
mkdir -p "$home"

if [[ -n ${APPWRITE_STAND_IN:-} ]]; then
  program=$APPWRITE_STAND_IN
else
  cargo build --quiet --package appwrite-stand-in --bin appwrite-stand-in
  program=$target/debug/appwrite-stand-in
fi
folder=$(mktemp -d)
readonly description=$folder/server.json
"$program" --port 0 --port-file "$description" &
server=$!
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for _ in $(seq 300); do
  [[ -e $description ]] && break
  kill -0 "$server" 2>/dev/null || { echo "appwrite-sdks: the stand-in did not start" >&2; exit 1; }
  sleep 0.1
done
[[ -e $description ]] || { echo "appwrite-sdks: the stand-in does not answer" >&2; exit 1; }

# install_once NAME LIST COMMAND...: runs the command unless it was run to its end with this list of packages.
install_once() {
  local stamp=$home/$1.installed list=$2
  shift 2
  if ! cmp --silent "$list" "$stamp"; then
    "$@" || return 1
    cp "$list" "$stamp"
  fi
}

run_js() {
  mkdir -p "$home/js" && cp "$sdks"/js/* "$home/js" || return 1
  install_once js "$sdks/js/package-lock.json" npm ci --prefix "$home/js" --ignore-scripts --no-audit --no-fund --silent ||
    return 1
  node "$home/js/run.mjs" "$description" "$sdks/script.json" && node "$home/js/realtime.mjs" "$description"
}

run_py() {
  install_once py "$sdks/py/requirements.txt" \
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-conflicts --root-user-action ignore --upgrade \
    --target "$home/py" --requirement "$sdks/py/requirements.txt" || return 1
  PYTHONPATH=$home/py python3 "$sdks/py/run.py" "$description" "$sdks/script.json"
}

run_rust() {
  cargo run --quiet --locked --manifest-path "$sdks/rust/Cargo.toml" --target-dir "$target/appwrite-sdks" -- \
    "$description" "$sdks/script.json"
}

failed=()
for language in "${languages[@]}"; do
  "run_$language" || failed+=("$language")
done
((${#failed[@]} == 0)) || { echo "appwrite-sdks: failed: ${failed[*]}" >&2; exit 1; }
