#!/usr/bin/env python3
"""Line coverage of crates/field and crates/protocol; fails below 90%.

Needs llvm-profdata and llvm-cov of the LLVM that rustc was built with (`rustc -vV`) or a later one, on the PATH or in
the folder that LLVM_BIN names. Every kernel that this processor has is run; lines of the others count as not covered.
Lines of unit tests do not count at all.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "coverage"
CRATES = ["field", "protocol"]
LEAST = 90.0
# Names are not packed: builds of llvm-cov without zlib cannot read packed ones.
FLAGS = "-C instrument-coverage -C llvm-args=-enable-name-compression=false"
# What runs these crates: their own tests, and those of the harness that need no deployment.
PACKAGES = ["amicus-field", "amicus-protocol", "amicus-client", "amicus-testkit"]
DEPLOYMENTS = ["cluster", "load", "tls", "users", "messages", "helper", "noise", "notices"]
# Tests that take minutes with counters in every line, and reach none that others do not.
SLOW = ["lazy_sums_do_not_overflow", "changed_messages_are_errors_and_no_panics"]


def tool(name: str) -> str:
    folder = os.environ.get("LLVM_BIN")
    return str(Path(folder) / name) if folder else name


def build(env: dict[str, str]) -> list[tuple[str, str, Path]]:
    """Test programs: name, path, and the folder they run in."""
    command = ["cargo", "test", "--release", "--locked", "--no-run", "--message-format=json", "--lib", "--tests"]
    for package in PACKAGES:
        command += ["-p", package]
    out = subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return [
        (m["target"]["name"], m["executable"], Path(m["manifest_path"]).parent)
        for m in messages
        if m.get("executable")
    ]


def kernels() -> list[str]:
    flags = set(re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.M).group(1).split())
    found = ["portable"]
    found += ["avx2"] if {"avx2", "fma"} <= flags else []
    found += ["avx512"] if {"avx512f", "avx512ifma", "avx512vbmi", "vaes", "vpclmulqdq"} <= flags else []
    return found


def test_lines(path: Path) -> set[int]:
    """Lines of `#[cfg(test)] mod ..` up to the end of the file, where this repository keeps unit tests."""
    lines = path.read_text().splitlines()
    starts = [i for i, line in enumerate(lines) if line == "#[cfg(test)]"]
    return set(range(starts[0] + 1, len(lines) + 1)) if starts else set()


def main() -> None:
    profiles = TARGET / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    for old in profiles.glob("*.profraw"):
        old.unlink()
    env = dict(os.environ, CARGO_TARGET_DIR=str(TARGET), CARGO_INCREMENTAL="0", RUSTFLAGS=FLAGS)
    env["LLVM_PROFILE_FILE"] = str(profiles / "build-%p.profraw")
    programs = [program for program in build(env) if program[0] not in DEPLOYMENTS]
    for old in profiles.glob("build-*"):
        old.unlink()
    found = kernels()
    for kernel in found:
        for name, path, folder in programs:
            # Only arithmetic differs by kernel; the rest runs once, on the fastest.
            if kernel != found[-1] and folder.name != "field" and name != "direct":
                continue
            env["LLVM_PROFILE_FILE"] = str(profiles / f"{kernel}-{name}-%p.profraw")
            skips = [argument for test in SLOW for argument in ("--skip", test)]
            subprocess.run([path, "-q", *skips], env=dict(env, AMICUS_KERNEL=kernel), cwd=folder, check=True)
    merged = TARGET / "coverage.profdata"
    raw = sorted(str(p) for p in profiles.glob("*.profraw"))
    subprocess.run([tool("llvm-profdata"), "merge", "-sparse", *raw, "-o", str(merged)], check=True)
    objects = [argument for _, path, _ in programs for argument in ("-object", path)][1:]
    export = [tool("llvm-cov"), "export", "-format=lcov", f"-instr-profile={merged}", *objects]
    lcov = subprocess.run(export, check=True, stdout=subprocess.PIPE, text=True).stdout
    report(lcov, found)


def report(lcov: str, found: list[str]) -> None:
    totals = {crate: [0, 0] for crate in CRATES}
    files = []
    path, skip, hit, known = None, set(), 0, 0
    for line in lcov.splitlines():
        if line.startswith("SF:"):
            path, hit, known = Path(line[3:]), 0, 0
            skip = test_lines(path) if path.is_file() else set()
        elif line.startswith("DA:"):
            number, count = line[3:].split(",")[:2]
            if int(number) not in skip:
                known += 1
                hit += int(count) > 0
        elif line == "end_of_record":
            for crate in CRATES:
                if path.is_relative_to(ROOT / "crates" / crate / "src"):
                    totals[crate][0] += hit
                    totals[crate][1] += known
                    files.append((hit / max(known, 1), path.relative_to(ROOT), hit, known))
    for share, path, hit, known in sorted(files):
        print(f"{100 * share:6.1f}%  {hit:4} of {known:4}  {path}")
    print(f"kernels run: {', '.join(found)}")
    failed = False
    for crate, (hit, known) in totals.items():
        share = 100 * hit / known
        print(f"{crate}: {share:.1f}% of {known} lines")
        failed |= share < LEAST
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
