"""How good private answers are, by what is true of the images (see ../tutorial-outputs.md).

    python3 score.py ANSWERS.json TRUTH.json [--name OUTPUT] [--angle-within DEGREES] [--right SHARE]

ANSWERS.json comes from `amicus demo --output` or `amicus infer --output`; --name says what a file with one output
answers. Exit code 1 where answers are worse than --angle-within or --right say.
"""

import argparse
import json
import sys


def outputs(file, name):
    """The answers of every output, by name."""
    parts = file.get("parts", [{"name": name, "shape": file["shape"]}])
    found, first = {}, 0
    for part in parts:
        length = 1
        for size in part["shape"]:
            length *= size
        found[part["name"]] = [answer["outputs"][first : first + length] for answer in file["answers"]]
        first += length
    return found


def largest(numbers):
    return max(range(len(numbers)), key=lambda i: numbers[i])


def mean(numbers):
    return sum(numbers) / len(numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers")
    parser.add_argument("truth")
    parser.add_argument("--name")
    parser.add_argument("--angle-within", type=float, default=180.0)
    parser.add_argument("--right", type=float, default=0.0)
    args = parser.parse_args()
    with open(args.answers, encoding="utf-8") as file:
        answers = outputs(json.load(file), args.name)
    with open(args.truth, encoding="utf-8") as file:
        truth = json.load(file)

    fine = True
    if "angle" in answers:
        error = mean([abs(got[0] - angle) for got, angle in zip(answers["angle"], truth["angle"])])
        print(f"angle: off by {error:.1f} degrees on average, of {len(answers['angle'])} images")
        fine &= error <= args.angle_within
    if "digit" in answers:
        right = mean([largest(got) == digit for got, digit in zip(answers["digit"], truth["digit"])])
        print(f"digit: {100 * right:.0f}% right, of {len(answers['digit'])} images")
        fine &= right >= args.right
    if "pixels" in answers:
        # Labels as revealed, or three planes of logits.
        labels = [got if len(got) == 784 else [largest(got[p::784]) for p in range(784)] for got in answers["pixels"]]
        pairs = [(int(got), int(true)) for image, row in zip(labels, truth["pixels"]) for got, true in zip(image, row)]
        right = mean([got == true for got, true in pairs])
        print(f"pixels: {100 * right:.1f}% right, of {len(labels)} images")
        for label, name in enumerate(["paper", "digit", "line"]):
            both = sum(got == true == label for got, true in pairs)
            either = sum(label in pair for pair in pairs)
            print(f"  {name}: intersection over union {both / either:.3f}")
        fine &= right >= args.right
    sys.exit(not fine)


if __name__ == "__main__":
    main()
