"""Holds networks with ReLU, none of them retrained, to what they compute in floating point, on whole test sets.

    python3 .ci/relu.py AMICUS --mnist DIR --cifar10 DIR [--alexnet FILE.safetensors] [--private N]

AMICUS is the program; the folders are as `amicus demo --data-dir` takes them. LeNet-5 and ResNet-8 ship with their plans;
AlexNet's ReLU network is too large to ship (crates/cli/assets/README.md says how to train it), so its scales are chosen
from 64 of the images. For each network: the integers of all test images (`amicus simulate`) must be right as often as
floating point, within 0.05 points, and N private inferences (200) must all give the simulator's class. Prints a table.
Hours on two cores with AlexNet, minutes without.
"""

import argparse
import json
import subprocess
import sys

POINTS = 0.05

parser = argparse.ArgumentParser()
parser.add_argument("amicus")
parser.add_argument("--mnist", required=True)
parser.add_argument("--cifar10", required=True)
parser.add_argument("--alexnet")
parser.add_argument("--private", type=int, default=200)
arguments = parser.parse_args()


def amicus(*words):
    run = subprocess.run([arguments.amicus, *words, "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def check(name, network, folder):
    """One row of the table, and whether the network is as it must be."""
    images = ["--data-dir", folder]
    trained = network.endswith(".safetensors")
    whole = amicus("simulate", *(["--weights", network] if trained else [network]), *images)
    samples, exact, fixed = whole["samples"], whole["float_correct"], whole["fixed_correct"]
    private = amicus("demo", "--weights" if trained else "--model", network, *images, "--samples", str(arguments.private))
    percent = [f"{100 * x:.3f}%" for x in (whole["total"]["relative_error"][key] for key in ("median", "max"))]
    cells = [
        name, f"{exact} of {samples} ({100 * exact / samples:.2f}%)", f"{fixed} ({100 * fixed / samples:.2f}%)",
        str(whole["total"]["same_class"]), f"{percent[0]} ({percent[1]})", str(len(whole["escapes"]["wrapped"])),
        f"{private['agree']} of {private['samples']}", f"{100 * private['simulator_error_max']:.3f}%",
        str(private["limbs"]), f"{private['online_ms']['median']:.1f} ms", str(private["rounds"]),
        f"{private['dealt_bytes'] / 1e6:.2f} MB", f"{private['sent_bytes_per_party'] / 1e6:.2f} MB",
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)
    near = abs(exact - fixed) * 100 <= POINTS * samples
    return near and private["check"] == "accepted" and private["agree"] == private["samples"] == arguments.private


def main():
    head = [
        "network", "floating point", "fixed point", "same class", "error of logits, median (largest)", "images beyond a window",
        "private = simulator", "largest difference", "limbs", "online", "rounds", "dealt", "sent",
    ]  # fmt: skip
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|", flush=True)
    rows = [
        ("LeNet-5, ReLU, max pooling", "lenet5-mnist-relu", arguments.mnist),
        ("ResNet-8, ReLU", "resnet8-cifar10-relu", arguments.cifar10),
    ]
    if arguments.alexnet:
        rows.append(("AlexNet, ReLU", arguments.alexnet, arguments.cifar10))
    wrong = [row[0] for row in rows if not check(*row)]
    if wrong:
        sys.exit(f"not as it must be: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
