#!/usr/bin/env bash
# Builds the WebAssembly client, the package @amicus/client and the page into web/dist.
#
# Takes rustup's target wasm32-unknown-unknown where it is there, else Debian's rustc-web, cargo-web and
# rust-web-src, which web/setup.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."
target=wasm32-unknown-unknown
dist=${1:-web/dist}
# A folder of its own: other flags than the project's builds.
built="${CARGO_TARGET_DIR:-$PWD/target}/wasm"
export CARGO_TARGET_DIR="$built" CARGO_INCREMENTAL=0
# Randomness of the browser alone, and no paths of this machine in what is served.
sep=$'\x1f'
export CARGO_ENCODED_RUSTFLAGS="--cfg${sep}getrandom_backend=\"custom\"${sep}--remap-path-prefix=$PWD=amicus${sep}--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
build=(build --quiet --locked --profile wasm -p amicus-web --target "$target")

with_rustup() {
    command -v cargo rustc > /dev/null && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}
# Debian has no standard library for WebAssembly: it is built from its source, by the compiler beside it.
with_debian() {
    [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ] && command -v wasm-ld > /dev/null \
        && [ -f "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library/std/Cargo.toml" ]
}
if [ "${AMICUS_WASM:-rustup}" = rustup ] && with_rustup; then
    cargo "${build[@]}"
elif with_debian; then
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld \
        /usr/bin/cargo "${build[@]}" -Z build-std=std,panic_abort
else
    echo "no Rust for $target: \`rustup target add $target\`, or \`web/setup.sh\`" >&2
    exit 69
fi

rm -rf "$dist"
mkdir -p "$dist"
cp web/client/{amicus.js,amicus.d.ts,package.json,README.md} web/page/{icon.svg,index.html,page.css,page.js} "$dist"
cp "$built/$target/wasm/amicus_web.wasm" "$dist/amicus.wasm"
# The hash of every file stands in the one that loads it: what was changed afterwards does not run.
hash() { openssl dgst "-sha$1" -binary | openssl base64 -A | sed "s/^/sha$1-/"; }
put() {
    grep -qF -- "$2" "$dist/$1" || { echo "$1: no place for $2" >&2; exit 1; }
    sed -i "s|$2|$3|g" "$dist/$1"
}
put amicus.js 'const WASM_INTEGRITY = ""' "const WASM_INTEGRITY = \"$(hash 384 < "$dist/amicus.wasm")\""
map="{\"integrity\":{\"./amicus.js\":\"$(hash 384 < "$dist/amicus.js")\"}}"
put index.html import-map "$map"
put index.html "hash-of-$map" "$(printf %s "$map" | hash 256)"
for file in page.css page.js; do put index.html "integrity-of-$file" "$(hash 384 < "$dist/$file")"; done
# The policy as a header, for whoever serves the page: NODES are the nodes' origins.
sed -n "s|.*Content-Security-Policy\" content=\"\([^\"]*\)\".*|\1; frame-ancestors 'none'|p" "$dist/index.html" \
    | sed "s|connect-src [^;]*|connect-src 'self' NODES|" > "$dist/policy.txt"
grep -q NODES "$dist/policy.txt"
for file in amicus.wasm amicus.js page.js page.css index.html; do
    printf '%-12s %7d bytes, %6d gzipped\n' "$file" "$(wc -c < "$dist/$file")" "$(gzip -9 -c "$dist/$file" | wc -c)"
done
