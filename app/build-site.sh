#!/bin/sh
# Builds what the browser loads into ${CARGO_TARGET_DIR:-target}/site: the WASM bundle, the style sheet, the icon, the plots' script.
# Needs the wasm32-unknown-unknown target and wasm-bindgen of the version in Cargo.lock; wasm-opt makes it smaller.
set -eu
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
site="$target/site"
locked="$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)"

fail() { echo "build-site: $*" >&2; exit 1; }
command -v wasm-bindgen >/dev/null || fail "wasm-bindgen is missing: cargo install wasm-bindgen-cli --version $locked"
[ "$(wasm-bindgen --version)" = "wasm-bindgen $locked" ] ||
  fail "$(wasm-bindgen --version) does not fit Cargo.lock's $locked: cargo install wasm-bindgen-cli --version $locked"

cargo build -p hydrate --target wasm32-unknown-unknown --profile wasm-release

# Built aside and moved into place whole, so that a server that is being built never embeds half a site.
work="$site.new"
rm -rf "$work"
mkdir -p "$work/pkg"
wasm-bindgen --target web --no-typescript --out-dir "$work/pkg" --out-name plimsoll \
  "$target/wasm32-unknown-unknown/wasm-release/hydrate.wasm"
# Binaryen before 116 breaks bundles with reference types, such as Debian 12's 108.
optimizer="$(wasm-opt --version 2>/dev/null | sed -n 's/^wasm-opt version \([0-9]*\).*/\1/p')"
if [ "${optimizer:-0}" -ge 116 ]; then
  # What rustc's wasm32 target uses; every browser since 2022 has it.
  wasm-opt -Oz --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext --enable-mutable-globals \
    --enable-reference-types --enable-multivalue -o "$work/pkg/opt.wasm" "$work/pkg/plimsoll_bg.wasm"
  mv "$work/pkg/opt.wasm" "$work/pkg/plimsoll_bg.wasm"
else
  echo "build-site: no wasm-opt of at least version 116 (npm install binaryen); the bundle stays larger than it need be" >&2
fi
cp app/style/plimsoll.css "$work/plimsoll.css"
cp app/public/favicon.svg app/public/plots.js "$work/"

# Unchanged files keep their time, so that the server is not built anew for nothing.
mkdir -p "$site/pkg"
for file in pkg/plimsoll.js pkg/plimsoll_bg.wasm plimsoll.css favicon.svg plots.js; do
  [ -s "$work/$file" ] || fail "$file came out empty"
  cmp -s "$work/$file" "$site/$file" || mv "$work/$file" "$site/$file"
done
[ -d "$work/pkg/snippets" ] && fail "the bundle has snippets, which the server does not serve"
rm -rf "$work"
echo "site: $site ($(wc -c <"$site/pkg/plimsoll_bg.wasm") bytes of WASM, $(gzip -9c "$site/pkg/plimsoll_bg.wasm" | wc -c) gzipped)"
