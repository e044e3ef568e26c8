#!/usr/bin/env bash
# Installs what the browser's part needs and is not there: a Rust that builds WebAssembly, Node with the
# packages of the tests, Chromium. Takes rustup where it is there, else packages of Debian.
set -euo pipefail
cd "$(dirname "$0")"
needed() { echo "web/setup.sh: $1" >&2; exit 69; }
if [ "$(id -u)" = 0 ]; then root=(); else root=(sudo); fi
updated=
install() {
    command -v apt-get > /dev/null || needed "install $* yourself"
    [ -n "$updated" ] || "${root[@]}" apt-get update --quiet --quiet || needed "no package lists"
    updated=1
    DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install --yes --quiet --quiet --no-install-recommends "$@" \
        || needed "$* cannot be installed"
}

# WebAssembly: rustup's target, or Debian's compiler with the source of its standard library.
built_for_it() { [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; }
with_rustup() { command -v rustup > /dev/null && { built_for_it || rustup target add wasm32-unknown-unknown; }; }
with_debian() { [ -f /usr/lib/rustlib/src/rust/library/std/Cargo.toml ] && command -v wasm-ld > /dev/null; }
with_rustup || with_debian || install rustc-web cargo-web rust-web-src lld
command -v openssl > /dev/null || install openssl
command -v "${CHROMIUM:-chromium}" > /dev/null || install chromium
modern() { node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 15) ? 0 : 1)'; }
command -v node > /dev/null || install nodejs npm
modern || needed "the tests need Node 20.15 or newer, this is $(node --version)"
command -v npm > /dev/null || install npm
[ node_modules/.package-lock.json -nt package-lock.json ] \
    || npm ci --no-audit --no-fund --silent || needed "no packages for the tests"
