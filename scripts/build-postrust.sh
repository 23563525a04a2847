#!/usr/bin/env bash
# Builds the PostgREST-compatible server of the Supabase test stack and prints where its program is.
#
#   scripts/build-postrust.sh
#
# It takes a few minutes the first time, with one job at a time so that other work goes on. The versions are those
# of the lock file in test-servers/postrust.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${POSTRUST_TARGET_DIR:-$PWD/target/postrust}
cargo build --locked --jobs "${POSTRUST_JOBS:-1}" --manifest-path test-servers/postrust/Cargo.toml \
  --target-dir "$folder" >&2
echo "$folder/debug/postrust-pinned"
