"""The command line: `amicus-train train`, `distill`, `mean`, `ablate` and `evaluate`."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from . import export
from .ablation import VARIANTS, Variant, ablate, markdown
from .convert import control_ranges, polynomialize, rectify
from .batches import ImageBatches, plain, split
from .data import DataError, Images, digits, load
from .mean import mean
from .memory import keep_freed
from .networks import NETWORKS, POOLS, Network, build
from .ranges import LayerRange
from .settings import Settings
from .training import Diverged, Outcome, evaluate, interval_of, settled, train
from .winograd import accelerate

# What differs from the defaults, for ReLU teachers and for polynomial students.
TEACHERS: dict[str, dict[str, Any]] = {
    "lenet5": {"epochs": 20.0, "batch": 128, "shift": 2, "flip": False, "matrix_rate": 0.05},
    "alexnet-cifar": {"epochs": 13.0, "label_smoothing": 0.1, "matrix_rate": 0.04, "warm_up": 0.1, "sizes": ((0.25, 16),)},
    "resnet8": {"epochs": 12.0, "matrix_rate": 0.0, "rate": 6e-3, "label_smoothing": 0.05},
}
STUDENTS: dict[str, dict[str, Any]] = {
    "lenet5": {"epochs": 10.0, "batch": 128, "shift": 2, "flip": False, "matrix_rate": 0.02, "rate": 1e-3},
    "alexnet-cifar": {"epochs": 4.0, "matrix_rate": 0.02, "rate": 1e-3, "fixed_epochs": 0.5},
    "resnet8": {"epochs": 8.0, "matrix_rate": 0.0, "rate": 3e-3},
}

# Percent signs are doubled for argparse.
_SIZES = "0.2:16,0.6:24 is 16 pixels until 20%% of the steps, then 24 until 60%%, then the data's own"


def _sizes(text: str) -> tuple[tuple[float, int], ...]:
    parts = [part.split(":") for part in text.split(",") if part]
    return tuple((float(until), int(size)) for until, size in parts)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings (defaults depend on the network)")
    kinds: dict[Any, Any] = {"float": float, "int": int}
    for field in fields(Settings):
        name = "--" + field.name.replace("_", "-")
        if field.type == "bool":
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=None)
        elif field.name == "sizes":
            group.add_argument(name, type=_sizes, metavar="SHARE:PIXELS,..", default=None, help=_SIZES)
        else:
            group.add_argument(name, type=kinds[field.type], default=None)


def _rows(text: str) -> tuple[Variant, ...]:
    numbers = [int(number) for number in text.split(",")]
    if not all(1 <= number <= len(VARIANTS) for number in numbers):
        raise ValueError(text)
    return tuple(VARIANTS[number - 1] for number in numbers)


def _shared_weights(text: str) -> tuple[Path, float]:
    name, colon, share = text.rpartition(":")
    return (Path(name), float(share)) if colon else (Path(text), 1.0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("amicus-train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--dataset", required=True, choices=("mnist", "cifar10"))
    shared.add_argument("--data-dir", required=True, type=Path)
    shared.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    shared.add_argument("--threads", type=int, default=0, help="0: as many as there are cores")
    shared.add_argument(
        "--winograd", action=argparse.BooleanOptionalAction, default=True,
        help="3 x 3 convolutions with a quarter of the multiplications, on a CPU",
    )  # fmt: skip
    written = argparse.ArgumentParser(add_help=False)
    written.add_argument("--out", required=True, type=Path, help="weights (safetensors)")
    written.add_argument("--weights-type", default="f32", choices=("f32", "f16", "bf16"))
    written.add_argument("--exclude", type=Path, help="folder with the digits of the demonstration, which must not be trained on")
    run = argparse.ArgumentParser(add_help=False, parents=[written])
    run.add_argument("--resume", action="store_true", help="go on from OUT.checkpoint; OUT.csv has the learning curve")
    teacher = commands.add_parser("train", parents=[shared, run], help="train a ReLU network")
    teacher.add_argument("--model", required=True, choices=tuple(NETWORKS))
    teacher.add_argument("--width", type=int, default=None, help="channels of resnet8's first stage (default 16)")
    teacher.add_argument("--pool", choices=tuple(POOLS), default=None, help="pools of lenet5 and alexnet-cifar (default average)")
    teacher.add_argument(
        "--start", type=Path, help="begin with the weights of this network of the same kind, ReLU for its polynomials (safetensors)"
    )
    _add_settings(teacher)
    polynomials = argparse.ArgumentParser(add_help=False)
    polynomials.add_argument("--teacher", required=True, type=Path, help="safetensors, from `train`")
    polynomials.add_argument("--degree", type=int, default=6)
    polynomials.add_argument("--interval", type=float, default=4.0)
    polynomials.add_argument("--sigmas", type=float, default=5.0, help="standard deviations that must fit the interval")
    polynomials.add_argument("--fit-sigma", type=float, default=None, help="of the arguments the fit is for")
    polynomials.add_argument("--learned", action="store_true", help="learn each layer's coefficients")
    student = commands.add_parser(
        "distill", parents=[shared, polynomials, run], help="make a polynomial network of a ReLU network"
    )
    student.add_argument(
        "--student", type=Path, help="go on with this polynomial network, its polynomials as they are (safetensors)"
    )
    _add_settings(student)
    average = commands.add_parser(
        "mean", parents=[shared, written], help="the mean of networks that went on from each other, statistics taken anew"
    )
    average.add_argument(
        "--weights", required=True, nargs="+", type=_shared_weights, metavar="FILE[:SHARE]", help="safetensors"
    )
    _add_settings(average)
    ablation = commands.add_parser(
        "ablate", parents=[shared, polynomials], help="what each part of `distill` is worth, as a table"
    )
    ablation.add_argument(
        "--only", type=_rows, default=VARIANTS, metavar="ROW,..",
        help=f"rows of the table to run, from 1 to {len(VARIANTS)}; rows do not depend on each other",
    )  # fmt: skip
    _add_settings(ablation)
    evaluation = commands.add_parser("evaluate", parents=[shared], help="accuracy and ranges on the test images")
    evaluation.add_argument("--weights", required=True, type=Path)
    return parser


def _settings(args: argparse.Namespace, defaults: dict[str, Any]) -> Settings:
    given = {f.name: getattr(args, f.name) for f in fields(Settings)}
    settings = replace(Settings(), **defaults)
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def _without(images: Images, excluded: Images) -> Images:
    """Raises DataError when an excluded image is not there."""
    found = {bytes(p.numpy().tobytes()) for p in excluded.pixels}
    keep = [i for i, p in enumerate(images.pixels) if bytes(p.numpy().tobytes()) not in found]
    if len(images) - len(keep) < len(found):
        raise DataError(f"only {len(images) - len(keep)} of {len(found)} images to exclude are in the training set")
    return images.select(torch.tensor(keep))


def _ranges(ranges: Sequence[LayerRange]) -> str:
    lines = [f"  {'layer':<10}{'largest |t|/B':>15}{'rms':>8}{'escaped':>12}{'images with one':>18}"]
    for r in ranges:
        lines.append(
            f"  {r.layer:<10}{r.largest:>15.3f}{r.rms:>8.3f}{r.escaped / max(r.values, 1):>12.2e}"
            f"{r.images_escaped / max(r.images, 1):>18.2e}"
        )
    return "\n".join(lines)


def _finish(outcome: Outcome, test: Images, args: argparse.Namespace, settings: Settings) -> None:
    assert isinstance(outcome.model, Network)
    model, interval = outcome.model, interval_of(outcome.model)
    # What is measured is what the file holds.
    model.load_state_dict(
        {k: v.float() for k, v in export.rounded(model.state_dict(), args.weights_type).items()}, strict=False
    )
    accuracy, ranges = evaluate(model, plain(test, model.input_rule), interval)
    notes = {
        "command": _command(args),
        "settings": settings.to_json(),
        "seed": str(settings.seed),
        "epochs": repr(settings.epochs),
        "date": datetime.date.today().isoformat(),
        "accuracy.validation": str(outcome.validation),
        "accuracy.test": str(accuracy),
    }
    if interval is not None:
        seen = zip(outcome.ranges, outcome.training_ranges, strict=True)
        largest = [max(a.largest, b.largest) for a, b in seen]
        if all(math.isfinite(value) for value in largest):
            notes["activation.ranges"] = json.dumps(largest)
    export.save(model, args.out, args.dataset, notes, args.weights_type)
    print(f"validation {outcome.validation}, test {accuracy}, {outcome.seconds:.0f} s")
    if interval is not None:
        print("on validation images:\n" + _ranges(outcome.ranges) + "\non test images:\n" + _ranges(ranges))
    print(f"wrote {args.out}")


def _command(args: argparse.Namespace) -> str:
    """The command as given, without folders of this machine; a run that was interrupted gives what one without does."""
    words: list[str] = []
    hidden = {"--data-dir": "DIR", "--exclude": "DIGITS"}
    for word in (word for word in sys.argv[1:] if word != "--resume"):
        words.append(hidden.get(words[-1] if words else "", Path(word).name if "/" in word else word))
    return "amicus-train " + shlex.join(words)


def _prepared(model: Network, args: argparse.Namespace) -> Network:
    moved: Network = model.to(args.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if args.winograd:
        accelerate(moved)
    return moved


def _polynomials(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "interval": args.interval, "degree": args.degree, "sigmas": args.sigmas, "sigma": args.fit_sigma,
        "learned": args.learned,
    }  # fmt: skip


def _teacher(args: argparse.Namespace) -> Network:
    teacher, _ = export.load(args.teacher)
    if interval_of(teacher) is not None:
        raise ValueError(f"{args.teacher} is no ReLU network")
    return teacher


def _fresh(args: argparse.Namespace) -> Network:
    """The network to train: new, or with the weights of another of its kind."""
    model = build(args.model, args.width, args.pool)
    if args.start is not None:
        start, _ = export.load(args.start)
        rectify(start)
        kinds = [(m.architecture, getattr(m, "width", None), m.pool_kind) for m in (model, start)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"{args.start} is of another kind than --model, --width and --pool say")
        model.load_state_dict(start.state_dict())
    return model


def _student(args: argparse.Namespace, teacher: Network, settings: Settings) -> Network:
    """A new student of the teacher's, or the one to go on with."""
    student: torch.nn.Module
    if args.student is not None:
        student, _ = export.load(args.student)
        interval = interval_of(student)
        if interval is None or student.architecture != teacher.architecture:
            raise ValueError(f"{args.student} is no polynomial {teacher.architecture}")
        if settings.blend > 0:
            raise ValueError(f"{args.student} has polynomials already; go on with --blend 0")
        if settings.projection:
            control_ranges(student, interval, args.sigmas)
    else:
        start = teacher
        if not settings.warm_start:
            start = build(teacher.architecture, getattr(teacher, "width", None), teacher.pool_kind)
        student = polynomialize(
            start, equalised=settings.warm_start, project_norms=settings.projection, **_polynomials(args)
        )
    assert isinstance(student, Network)
    return student


def _run(args: argparse.Namespace) -> None:
    # Both for GPUs; they mean nothing on a CPU.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    keep_freed()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"--device {args.device}: PyTorch sees no such GPU on this machine; --device cpu works everywhere")
    if args.threads:
        torch.set_num_threads(args.threads)
    test = load(args.dataset, args.data_dir, "test")
    if args.command == "evaluate":
        trained, _ = export.load(args.weights)
        model = _prepared(trained, args)
        accuracy, ranges = evaluate(model, plain(test, model.input_rule), interval_of(model))
        print(f"test {accuracy}")
        if ranges:
            print(_ranges(ranges))
        return
    images = load(args.dataset, args.data_dir, "train")
    if args.command == "ablate":
        teacher = _teacher(args)
        settings = _settings(args, STUDENTS[teacher.architecture])
        rows = ablate(_prepared(teacher, args), images, test, settings, _polynomials(args), variants=args.only)
        print(markdown(rows))
        return
    if args.exclude is not None:
        images = _without(images, digits(args.exclude))
    if args.command == "mean":
        averaged = mean([(export.load(path)[0], share) for path, share in args.weights])
        settings = _settings(args, STUDENTS[averaged.architecture])
        settings.validate()
        training, validation = split(images, settings.validation, settings.seed)
        batches = ImageBatches(training, averaged.input_rule, settings, args.device)
        outcome = settled(_prepared(averaged, args), batches, plain(validation, averaged.input_rule))
        _finish(outcome, test, args, settings)
        return
    files = {
        "checkpoint": args.out.with_name(args.out.name + ".checkpoint"),
        "table": args.out.with_name(args.out.name + ".csv"),
        "resume": args.resume,
        "say": lambda text: print(text, flush=True),
    }
    if args.command == "train":
        settings = _settings(args, TEACHERS[args.model])
        torch.manual_seed(settings.seed)
        outcome = train(_prepared(_fresh(args), args), images, settings, **files)
    else:
        teacher = _teacher(args)
        settings = _settings(args, STUDENTS[teacher.architecture])
        torch.manual_seed(settings.seed)
        student = _student(args, teacher, settings)
        outcome = train(_prepared(student, args), images, settings, teacher=_prepared(teacher, args), **files)
    _finish(outcome, test, args, settings)


def main() -> None:
    args = _parser().parse_args()
    try:
        _run(args)
    except (DataError, Diverged, ValueError, OSError) as error:
        sys.exit(f"amicus-train: {error}")


if __name__ == "__main__":
    main()
