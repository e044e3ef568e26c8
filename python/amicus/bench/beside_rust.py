"""The package beside the Rust client, over the same cluster of real processes, in turns.

    cargo build --release && cargo build --release -p amicus-cli --example asks
    python python/amicus/bench/beside_rust.py [--model lenet5-mnist] [--each 100] [--turns 3] [--at-a-time 8]

A lone inference: milliseconds, the median of each turn's inferences, and of all. Many at a time: inferences a second.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

import amicus

ROOT = Path(__file__).resolve().parents[3]
BUILT = ROOT / "target/release"
WARM = 5


def up(model: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen([str(BUILT / "amicus"), "up", model, "--json"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"amicus up ended: {text}")
        text += line
    return process, json.loads(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet5-mnist")
    parser.add_argument("--each", type=int, default=100)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--at-a-time", type=int, default=8)
    args = parser.parse_args()
    process, ready = up(args.model)
    try:
        cluster, token = ready["cluster"], ready["clients"][0]["tokens"]
        picture = sorted(Path(ready["models"][0]["images"]).glob("*.f32"))[0]

        def rust(*how: object) -> list[float]:
            command = [BUILT / "examples/asks", cluster, token, args.model, picture, *how]
            done = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True)
            return [float(line) for line in done.stdout.split()]

        with amicus.connect(cluster, token=token) as client:
            shape = client.plan.input_shape
            x = np.fromfile(picture, "<f4").reshape(shape)

            def one() -> list[float]:
                for _ in range(WARM):
                    client.predict(x)
                times = []
                for _ in range(args.each):
                    start = time.perf_counter()
                    client.predict(x)
                    times.append(1e3 * (time.perf_counter() - start))
                return times

            def many() -> float:
                for _ in range(WARM):
                    client.predict(x)
                start = time.perf_counter()
                count = sum(1 for _ in client.predict_many([x] * args.each, concurrency=args.at_a_time))
                return count / (time.perf_counter() - start)

            lone: dict[str, list[float]] = {"rust": [], "python": []}
            rates: dict[str, list[float]] = {"rust": [], "python": []}
            for turn in range(args.turns):
                # A B, B A: what drifts falls on both.
                for who in ("rust", "python")[:: 1 - 2 * (turn % 2)]:
                    lone[who] += rust("one", args.each) if who == "rust" else one()
                    rates[who].append(rust("many", args.each, args.at_a_time)[0] if who == "rust" else many())
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
    print(f"{args.model}: {args.turns} turns of {args.each} inferences")
    print("client   lone, median ms   least ms   " + f"{args.at_a_time} at a time, a second (median of turns)")
    for who in lone:
        print(f"{who:8} {statistics.median(lone[who]):15.2f} {min(lone[who]):10.2f} {statistics.median(rates[who]):10.1f}")
    above = statistics.median(lone["python"]) - statistics.median(lone["rust"])
    share = statistics.median(rates["python"]) / statistics.median(rates["rust"])
    print(f"python - rust: {above:.2f} ms; python / rust: {100 * share:.0f}% of the rate")


if __name__ == "__main__":
    main()
