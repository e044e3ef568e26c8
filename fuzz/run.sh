#!/usr/bin/env bash
# Fuzzes targets for some seconds each: fuzz/run.sh SECONDS [TARGET..]. Needs cargo-fuzz and a nightly toolchain.
# SANITIZER=address also looks for wrong accesses in unsafe code, at half the speed.
# What is found anew is kept in fuzz/grown, inputs that fail in fuzz/artifacts; neither is part of the repository.
set -euo pipefail
cd "$(dirname "$0")"
[ $# -gt 0 ] || { echo "usage: fuzz/run.sh SECONDS [TARGET..]"; exit 2; }
seconds=$1
shift
sanitizer=${SANITIZER:-none}
# Formats change: what encoders write today is tried beside what is kept.
cargo run --release --locked --quiet --manifest-path ../Cargo.toml -p amicus-fuzzing --bin seeds -- grown
cargo +nightly fuzz build -s "$sanitizer"
if [ $# -eq 0 ]; then
    mapfile -t targets < <(cargo +nightly fuzz list)
    set -- "${targets[@]}"
fi
for target in "$@"; do
    mkdir -p "grown/$target"
    echo "== $target"
    cargo +nightly fuzz run -s "$sanitizer" "$target" "grown/$target" "corpus/$target" -- \
        -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2048 -malloc_limit_mb=1024 -print_final_stats=1 2>&1 |
        grep -vE '^#[0-9]+.*(NEW|REDUCE|pulse|RELOAD)' # the progress of a minute is thousands of lines
done
