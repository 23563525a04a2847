#!/usr/bin/env bash
# Runs the official clients (supabase-js and its realtime client from npm, postgrest from PyPI) against the test stack, to
# show that it speaks what they speak. Needs node, npm, python3 with pip, TEST_POSTGRES_URL and the program of
# scripts/build-postrust.sh. What it installs goes into data/supabase-clients, which is not under version control. The
# stack is built, unless STACK_PROGRAM names its program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly POSTGREST=2.34.1
for tool in node npm python3 cargo; do
  command -v "$tool" >/dev/null || { echo "supabase-clients: $tool is needed and not there" >&2; exit 1; }
done
: "${TEST_POSTGRES_URL:?supabase-clients: set it to the URL of a superuser on a PostgreSQL server for tests}"

if [[ -z ${STACK_PROGRAM:-} ]]; then
  cargo build --quiet -p supabase-stack --bin supabase-stack
  STACK_PROGRAM=${CARGO_TARGET_DIR:-$PWD/target}/debug/supabase-stack
fi
export STACK_PROGRAM

home=$PWD/data/supabase-clients
mkdir -p "$home"
cp test-servers/supabase/clients/* "$home"
(cd "$home" && npm ci --silent --no-audit --no-fund)
python3 -m pip install --quiet --disable-pip-version-check --upgrade --target "$home/python" "postgrest==$POSTGREST"

(cd "$home" && node --test --test-timeout=120000 supabase-js.test.mjs)
(cd "$home" && PYTHONPATH=$home/python node postgrest.mjs python3)
