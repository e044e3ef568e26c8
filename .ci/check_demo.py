"""Asserts what `amicus demo --json` must report. Usage: check_demo.py FILE [--samples N] [--wan] [--cheat] [--unlabelled] [--large] [--exact]
    [--watching]

--large: of a network beyond LeNet-5, on images with few labels or none.
--exact: of a network with ReLU, nothing of which is approximated.
--watching: of a plan that looks for values outside, which takes some rounds more behind the network.
"""

import argparse
import json

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("--samples", type=int)
parser.add_argument("--wan", action="store_true")
parser.add_argument("--cheat", action="store_true")
parser.add_argument("--unlabelled", action="store_true")
parser.add_argument("--large", action="store_true")
parser.add_argument("--exact", action="store_true")
parser.add_argument("--watching", action="store_true")
arguments = parser.parse_args()
with open(arguments.file, encoding="utf-8") as file:
    report = json.load(file)


def expect(condition, what):
    if not condition:
        raise SystemExit(f"{arguments.file}: {what}\n{json.dumps(report, indent=1)}")


if arguments.cheat:
    expect(report["check"] != "accepted", "the cheat was not caught")
    expect(report["recovered"] is True, "no honest inference after the cheat")
else:
    samples = report["samples"]
    expect(samples == arguments.samples, "wrong number of samples")
    expect(report["check"] == "accepted", "the check was not accepted")
    expect(report["agree"] == samples, "private predictions differ from the simulator's")
    if arguments.large:
        expect(report["agree_plaintext"] >= 0.8 * samples, "private predictions differ from plain ones")
    elif arguments.unlabelled:
        expect(report["correct"] is None and report["labelled"] == 0, "an accuracy without labels")
    else:
        expect(report["correct"] >= 0.98 * samples, "accuracy below 98%")
    # Of the fixed point alone: polynomials in place of other activations may cost more.
    expect(report["fixed_point_error"]["median"] <= 0.01, "error of the fixed point above 1%")
    # Over short lines few bytes are dealt, and rounds are many; over long ones the other way round.
    rounds, dealt, sent = {
        (True, False): (40, 1_400_000, 130_000),
        (True, True): (26, 1_400_000, 130_000),
        (False, False): (14, 1_000_000, 200_000),
        (False, True): (12, 1_200_000, 120_000),
    }[arguments.exact, arguments.wan]
    many = report["batch"] >= 8 and not arguments.exact
    if many:
        # In batches rounds weigh little.
        rounds = 28
        expect(report["limbs"] == 1 and report["dealt_bytes"] <= 500_000 * report["batch"], "not the plan for batches")
    if arguments.watching:
        rounds += 7
    if arguments.exact:
        expect(report["polynomials_error"]["max"] == 0, "something was approximated")
        expect(report["limbs"] == 1, "more than one limb")
        expect(report["agree_plaintext"] == samples, "private predictions differ from plain ones")
    if not arguments.large:
        expect(report["rounds"] <= rounds, f"more than {rounds} rounds")
    if not arguments.large and report["parties"] == 2 and report["batch"] == 1:
        expect(report["dealt_bytes"] <= dealt, f"more than {dealt / 1e6} MB dealt")
        expect(report["sent_bytes_per_party"] <= sent, f"more than {sent / 1e3} kB sent")
    if arguments.wan:
        # Hops of 20 ms, and the bytes one after the other at 100 Mbit/s.
        arithmetic = report["rounds"] * 20 + report["sent_bytes_per_party"] * 8 / 100e3
        # How much slower it is depends on what else the machine does; faster would mean that nothing was shaped.
        expect(report["online_ms"]["min"] >= 0.99 * arithmetic, f"faster than arithmetic ({arithmetic:.0f} ms)")
print(f"{arguments.file}: as it must be")
