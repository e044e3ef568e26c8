"""What each part of the co-optimisation is worth: the same run with one part switched off or changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from .batches import plain
from .convert import polynomialize
from .data import Images
from .networks import Network, build
from .settings import Settings
from .training import Accuracy, Diverged, evaluate, train
from .winograd import WinogradConv2d, accelerate


@dataclass(frozen=True)
class Variant:
    """A name, and what differs from the whole recipe: settings, and arguments of `polynomialize`."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    polynomials: dict[str, Any] = field(default_factory=dict)


VARIANTS = (
    Variant("everything"),
    Variant("weights from scratch, not the teacher's", {"warm_start": False, "blend": 0.0}),
    Variant("polynomials at once, no blend", {"blend": 0.0}),
    Variant("labels only, no answers of the teacher", {"distillation": 0.0}),
    Variant("no feature matching", {"features": 0.0}),
    Variant("labels only, no feature matching", {"distillation": 0.0, "features": 0.0}),
    Variant("no penalty near the interval's ends", {"penalty": 0.0}),
    Variant("no projection of gamma and beta", {"projection": False}),
    Variant("neither penalty nor projection", {"penalty": 0.0, "projection": False}),
    Variant("no fixed-point-aware epochs", {"fixed_epochs": 0.0}),
    Variant("coefficients learned, layer by layer", {}, {"learned": True}),
    Variant("k = 4 standard deviations in the interval", {}, {"sigmas": 4.0}),
    Variant("degree 4", {}, {"degree": 4}),
    Variant("degree 2", {}, {"degree": 2}),
)


@dataclass
class Row:
    """One variant's results, or why it has none."""

    name: str
    validation: Accuracy | None = None
    test: Accuracy | None = None
    images_escaped: float = 0.0
    largest: float = 0.0
    problem: str = ""

    def __str__(self) -> str:
        """A line of the table."""
        if self.validation is None or self.test is None:
            return f"| {self.name} | {self.problem} | | | |"
        return (
            f"| {self.name} | {100 * self.validation.rate:.2f}% | {100 * self.test.rate:.2f}% "
            f"| {100 * self.images_escaped:.2f}% | {self.largest:.2f} |"
        )


def ablate(
    teacher: Network, images: Images, test: Images, settings: Settings, polynomials: dict[str, Any],
    say: Callable[[str], None] = print, variants: tuple[Variant, ...] = VARIANTS,
) -> list[Row]:  # fmt: skip
    """Distills one student a variant, all with the same seed. Figures of ranges are of the validation images."""
    rows: list[Row] = []
    for variant in variants:
        say(f"== {variant.name}")
        own = replace(settings, **variant.settings)
        torch.manual_seed(own.seed)
        start = teacher if own.warm_start else build(teacher.architecture, getattr(teacher, "width", None))
        arguments = {**polynomials, **variant.polynomials}
        student = polynomialize(start, equalised=own.warm_start, project_norms=own.projection, **arguments)
        student.to(next(teacher.parameters()).device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        assert isinstance(student, Network)
        if any(isinstance(module, WinogradConv2d) for module in teacher.modules()):
            accelerate(student)
        try:
            outcome = train(student, images, own, teacher=teacher, say=say)
        except Diverged as error:
            rows.append(Row(variant.name, problem=str(error)))
            say(str(rows[-1]))
            continue
        accuracy, _ = evaluate(student, plain(test, student.input_rule))
        escaped = max(r.images_escaped / max(r.images, 1) for r in outcome.ranges)
        largest = max(r.largest for r in outcome.ranges)
        rows.append(Row(variant.name, outcome.validation, accuracy, escaped, largest))
        say(str(rows[-1]))
    return rows


def markdown(rows: list[Row]) -> str:
    """The table for the documentation."""
    lines = ["| variant | validation | test | images with an escape | largest \\|t\\| / B |", "| --- | --- | --- | --- | --- |"]
    return "\n".join(lines + [str(row) for row in rows])
