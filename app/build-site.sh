#!/bin/sh
# Builds what the browser loads into ${CARGO_TARGET_DIR:-target}/site: two WASM modules (the pages' islands; the planner), the style
# sheet, the icon, scripts; each also compressed, as the server sends it. Fails where a page's first load is over the budget.
# Needs the wasm32-unknown-unknown target, wasm-bindgen of the version in Cargo.lock, and node; wasm-opt makes it smaller.
set -eu
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
site="$target/site"
locked="$(sed -n '/^name = "wasm-bindgen"$/{n;s/^version = "\(.*\)"$/\1/p;}' Cargo.lock)"

fail() { echo "build-site: $*" >&2; exit 1; }
command -v wasm-bindgen >/dev/null || fail "wasm-bindgen is missing: cargo install wasm-bindgen-cli --version $locked"
[ "$(wasm-bindgen --version)" = "wasm-bindgen $locked" ] ||
  fail "$(wasm-bindgen --version) does not fit Cargo.lock's $locked: cargo install wasm-bindgen-cli --version $locked"

command -v node >/dev/null || fail "node is missing: it compresses the site (Debian: apt-get install nodejs)"

# Flags for another processor, which the README names, are not for WASM.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
build() { cargo build -p hydrate --target wasm32-unknown-unknown --profile wasm-release "$@"; }
build --lib
build --bin planner --no-default-features --features planner

# Built aside and moved into place whole, so that a server that is being built never embeds half a site.
work="$site.new"
rm -rf "$work"
mkdir -p "$work/pkg"
# Binaryen before 116 breaks bundles with reference types, such as Debian 12's 108.
optimizer="$(wasm-opt --version 2>/dev/null | sed -n 's/^wasm-opt version \([0-9]*\).*/\1/p')"
[ "${optimizer:-0}" -ge 116 ] ||
  echo "build-site: no wasm-opt of at least version 116 (npm install binaryen); the site stays larger than it need be" >&2
module() { # NAME BUILT
  wasm-bindgen --target web --no-typescript --out-dir "$work/pkg" --out-name "$1" \
    "$target/wasm32-unknown-unknown/wasm-release/$2.wasm"
  [ "${optimizer:-0}" -ge 116 ] || return 0
  # What rustc's wasm32 target uses; every browser since 2022 has it.
  wasm-opt -Oz --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext --enable-mutable-globals \
    --enable-reference-types --enable-multivalue --strip-producers --strip-target-features \
    -o "$work/pkg/opt.wasm" "$work/pkg/$1_bg.wasm"
  mv "$work/pkg/opt.wasm" "$work/pkg/$1_bg.wasm"
}
module plimsoll hydrate
module planner planner
cp app/style/plimsoll.css "$work/plimsoll.css"
cp app/public/favicon.svg app/public/planner.js app/public/planner-worker.js app/public/plots.js "$work/"
[ ! -d "$work/pkg/snippets" ] || fail "the bundle has snippets, which the server does not serve"
node app/compress.mjs "$work"

# Unchanged files keep their time, so that the server is not built anew for nothing.
mkdir -p "$site/pkg"
(cd "$work" && find . -type f) | while read -r file; do
  [ -s "$work/$file" ] || fail "$file came out empty"
  cmp -s "$work/$file" "$site/$file" || mv "$work/$file" "$site/$file"
done
rm -rf "$work"
echo "site: $site"
