"""The training loop, for ReLU teachers and polynomial students alike."""

from __future__ import annotations

import copy
import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from .activation import PolyActivation
from .batches import Batch, Batches, ImageBatches, LoaderBatches, plain, split
from .data import Images
from .far import Far, far
from .fixed import FixedPoint
from .networks import Network
from .norm import RangeControl, project
from .optim import optimisers
from .ranges import LayerRange, reestimate, watch
from .settings import Settings
from .structure import activations, equalise


# Far images that join a step, as a share of its batch (one in so many), and what they count for beside it.
FAR_SHARE = 16
FAR_WEIGHT = 0.25


class Diverged(Exception):
    """The loss is not a number any more; the message says at which step and in which layer."""


@dataclass
class Accuracy:
    correct: int
    images: int

    @property
    def rate(self) -> float:
        return self.correct / max(self.images, 1)

    def __str__(self) -> str:
        return f"{100 * self.rate:.2f}% ({self.correct} of {self.images})"


@dataclass
class Outcome:
    """What a run gave: `model` in eval mode, figures on the images held out, and ranges on (some) training images too."""

    model: nn.Module
    validation: Accuracy
    ranges: list[LayerRange]
    training_ranges: list[LayerRange]
    seconds: float
    log: list[dict[str, float]] = field(default_factory=list)


def one_cycle(position: float, warm_up: float) -> float:
    """The learning rate's share of its peak at `position` (0 to 1): up linearly, down to 0 linearly."""
    if position < warm_up:
        return (position + 0.02) / (warm_up + 0.02)
    return max(0.0, (1.0 - position) / max(1.0 - warm_up, 1e-9))


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Batch], interval: float | None = None) -> tuple[Accuracy, list[LayerRange]]:
    """Accuracy, and where activations lie within `interval` if given."""
    model.eval()
    device = next(model.parameters()).device
    result = Accuracy(0, 0)
    with watch(model, interval or 1.0) as ranges:
        for x, labels in batches:
            result.correct += int((model(x.to(device)).argmax(1).cpu() == labels).sum())
            result.images += len(labels)
    return result, ranges if interval else []


def train(
    model: Network,
    images: Images,
    settings: Settings,
    *,
    teacher: Network | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    table: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Trains a network of this package in place and gives what came of it.

    With `teacher` the model is its polynomial student: it must be made by `polynomialize` from a copy of it. A
    checkpoint is written after every epoch; `resume` goes on from it and demands the same settings.

    Raises ValueError for settings that cannot be, `Diverged` when the loss is not finite.
    """
    settings.validate()
    training, validation = split(images, settings.validation, settings.seed)
    batches = ImageBatches(training, model.input_rule, settings, next(model.parameters()).device)
    held_out = plain(validation, model.input_rule)
    return _Run(model, batches, held_out, settings, teacher, checkpoint, table, say).run(resume)


def distill(
    student: nn.Module,
    teacher: nn.Module,
    training: Iterable[Batch],
    validation: Iterable[Batch],
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    table: Path | None = None,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Trains `student`, made by `polynomialize(teacher)`, to answer as `teacher` does; for networks and data of any kind.

    `training` and `validation` give (images, classes), a `DataLoader` for example; augmentation is theirs. Settings of
    image sets (`batch`, `validation`, `limit`, `sizes`, `shift`, `flip`) have no effect here. Otherwise as `train`.
    """
    settings.validate()
    return _Run(student, LoaderBatches(training), validation, settings, teacher, checkpoint, table, say).run(resume)


def placed(x: Tensor, device: torch.device) -> Tensor:
    x = x.to(device)
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x


def settled(model: nn.Module, training: Batches, validation: Iterable[Batch]) -> Outcome:
    """What comes after the last step: statistics anew, and figures."""
    start = time.monotonic()
    device, interval = next(model.parameters()).device, interval_of(model)
    reestimate(model, (placed(x, device) for x, _ in training.sample()))
    accuracy, ranges = evaluate(model, validation, interval)
    seen = evaluate(model, training.plain(), interval)[1] if interval else []
    return Outcome(model, accuracy, ranges, seen, time.monotonic() - start)


def interval_of(model: nn.Module) -> float | None:
    """The interval of the model's polynomials; none for a ReLU network."""
    return next((m.interval for m in activations(model).values() if isinstance(m, PolyActivation)), None)


class _Run:
    def __init__(
        self, model: nn.Module, training: Batches, validation: Iterable[Batch], settings: Settings,
        teacher: nn.Module | None, checkpoint: Path | None, table: Path | None, say: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.model, self.training, self.validation, self.settings = model, training, validation, settings
        self.checkpoint, self.table, self.say = checkpoint, table, say
        self.device = next(model.parameters()).device
        self.steps = max(1, round(settings.epochs * training.steps))
        self.interval = interval_of(model)
        self.polynomials = [m for m in activations(model).values() if isinstance(m, PolyActivation)]
        self.teacher = copy.deepcopy(teacher).eval().to(self.device) if teacher is not None else None
        if self.teacher is not None and self.interval is not None and settings.warm_start:
            # The same network at the student's scale, so that features can be compared.
            equalise(self.teacher, self.interval, sigmas_of(model))
        output = [name for name, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
        self.optimisers = optimisers(model, settings.matrix_rate, settings.rate, settings.weight_decay, output)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["peak"] = group["lr"]
        self.step = 0
        self.far: Far | None = None
        self.log: list[dict[str, float]] = []

    def run(self, resume: bool) -> Outcome:
        start = time.monotonic()
        if resume:
            self._restore()
        fixed = FixedPoint(self.model, self.settings.argument_bits, self.settings.weight_bits)
        aware_from = self.steps - round(self.settings.fixed_epochs * self.training.steps)
        replayed_from = self.steps - round(self.settings.replay * self.training.steps)
        while self.step < self.steps:
            if self.interval is not None and self.settings.reach > 0 and self.step >= replayed_from:
                found = far(self.model, self.training.plain(), self.settings.reach * self.interval)
                self.say(f"  {len(found)} training images reach beyond {self.settings.reach} times the interval")
                # One that is inside by now would leave again.
                self.far = found if self.far is None else found.and_those_of(self.far)
            began, total, done = time.monotonic(), 0.0, 0
            for x, labels in self.training.epoch(self.step // self.training.steps, self.settings.epochs):
                if self.step >= aware_from:
                    fixed.switch_on()
                total += self._step(x, labels)
                self.step += 1
                done += 1
                if self.step == self.steps:
                    break
                if done % 20 == 0:
                    rate = done * len(x) / (time.monotonic() - began)
                    self.say(f"  step {self.step} of {self.steps}, loss {total / done:.4f}, {rate:.0f} images/s")
            self._epoch(total / max(done, 1), time.monotonic() - began)
        fixed.switch_off()
        outcome = settled(self.model, self.training, self.validation)
        return replace(outcome, seconds=time.monotonic() - start, log=self.log)

    def _step(self, x: Tensor, labels: Tensor) -> float:
        s, position = self.settings, self.step / self.steps
        x, labels = placed(x, self.device), labels.to(self.device)
        for polynomial in self.polynomials:
            warm = self.teacher is not None and s.warm_start and s.blend > 0
            polynomial.blend = min(1.0, position / s.blend) if warm else 1.0
            polynomial.set_penalty(s.penalty / len(x), s.margin)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * one_cycle(position, s.warm_up)
            optimiser.zero_grad(set_to_none=True)
        self.model.train()
        loss = self._loss(x, labels)
        value = self._finite(loss, x)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.far is not None and len(self.far):
            self._replay(self.far, len(x))
        nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        for optimiser in self.optimisers:
            optimiser.step()
        if s.projection:
            project(self.model)
        return value

    def _finite(self, loss: Tensor, x: Tensor) -> float:
        """The loss; raises `Diverged` when it is not a number."""
        value = float(loss.detach())
        if not math.isfinite(value):
            epoch = self.step // self.training.steps + 1
            raise Diverged(f"loss is {value} at step {self.step + 1} (epoch {epoch}); {self._culprit(x)}")
        return value

    def _replay(self, images: Far, batch: int) -> None:
        """Adds the gradient of some of these images, with the statistics of inference.

        In the batch they would count in its statistics and look closer than they are.
        """
        x, labels = images.chosen(max(1, batch // FAR_SHARE), self.step)
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.eval()
        for polynomial in self.polynomials:
            polynomial.set_penalty(FAR_WEIGHT * self.settings.penalty / len(x), self.settings.margin)
        x, labels = placed(x, self.device), labels.to(self.device)
        loss = FAR_WEIGHT * self._loss(x, labels)
        self._finite(loss, x)
        loss.backward()  # type: ignore[no-untyped-call]

    def _loss(self, x: Tensor, labels: Tensor) -> Tensor:
        s = self.settings
        if self.teacher is None or (s.distillation == 0 and s.features == 0):
            return F.cross_entropy(self.model(x), labels, label_smoothing=s.label_smoothing)
        matched = s.features > 0
        with torch.no_grad(), _outputs(self.teacher if matched else None) as theirs:
            answers = self.teacher(x)
        with _outputs(self.model if matched else None) as ours:
            logits = self.model(x)
        loss = (1 - s.distillation) * F.cross_entropy(logits, labels, label_smoothing=s.label_smoothing)
        t = s.temperature
        soft = F.kl_div(F.log_softmax(logits / t, 1), F.log_softmax(answers / t, 1), log_target=True, reduction="batchmean")
        loss = loss + s.distillation * t * t * soft
        if matched:
            distances = [F.mse_loss(a, b) / (b.square().mean() + 1e-6) for a, b in zip(ours, theirs, strict=True)]
            loss = loss + s.features * torch.stack(distances).mean()
        return loss

    def _epoch(self, loss: float, seconds: float) -> None:
        accuracy, ranges = evaluate(self.model, self.validation, self.interval)
        escaped = max((r.images_escaped / max(r.images, 1) for r in ranges), default=0.0)
        row = {
            "epoch": self.step / self.training.steps,
            "loss": loss,
            "validation": accuracy.rate,
            "images_escaped": escaped,
            "largest": max((r.largest for r in ranges), default=0.0),
            "seconds": seconds,
        }
        self.log.append(row)
        if self.table is not None:
            with open(self.table, "w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(row))
                writer.writeheader()
                writer.writerows(self.log)
        self.say(
            f"epoch {row['epoch']:.2f} of {self.settings.epochs}: loss {loss:.4f}, validation {accuracy}, "
            f"largest |t|/B {row['largest']:.2f}, {seconds:.0f} s"
        )
        self._save()

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "settings": self.settings.to_json(),
            "architecture": self._architecture(),
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "log": json.dumps(self.log),
            "far": None if self.far is None else [self.far.images, self.far.labels],
        }
        temporary = self.checkpoint.with_name(self.checkpoint.name + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.checkpoint)

    def _restore(self) -> None:
        if self.checkpoint is None or not self.checkpoint.exists():
            raise ValueError(f"nothing to resume from: {self.checkpoint} does not exist")
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["architecture"] != self._architecture():
            raise ValueError(f"{self.checkpoint} is of a {state['architecture']}, not of a {self._architecture()}")
        difference = self.settings.differs_from(state["settings"])
        if difference is not None:
            raise ValueError(f"{self.checkpoint} was written with other settings: {difference}")
        self.model.load_state_dict(state["model"])
        for optimiser, stored in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(stored)
        self.step, self.log = state["step"], json.loads(state["log"])
        self.far = None if state["far"] is None else Far(*(tensor.cpu() for tensor in state["far"]))

    def _architecture(self) -> str:
        return str(getattr(self.model, "architecture", type(self.model).__name__))

    def _culprit(self, x: Tensor) -> str:
        """The first module whose result is not finite."""
        found: list[str] = []
        handles = []
        for name, module in self.model.named_modules():
            if not list(module.children()):

                def hook(_: nn.Module, __: object, result: Tensor, name: str = name) -> None:
                    if not found and not torch.isfinite(result).all():
                        found.append(name)

                handles.append(module.register_forward_hook(hook))
        with torch.no_grad():
            self.model(x)
        for handle in handles:
            handle.remove()
        if found:
            return f"the first layer whose values are not finite is {found[0]}"
        return "every layer's values are finite, so it is the loss itself"


class _outputs:
    """Collects the results of a network's activations while it runs inside the `with`; nothing for no network."""

    def __init__(self, model: nn.Module | None) -> None:
        self.modules = list(activations(model).values()) if model is not None else []
        self.results: list[Tensor] = []
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> list[Tensor]:
        for module in self.modules:
            self.handles.append(module.register_forward_hook(lambda _, __, result: self.results.append(result)))
        return self.results

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def sigmas_of(model: nn.Module) -> float:
    """How many standard deviations the model's BatchNorms keep inside the interval."""
    return next((m.sigmas for m in model.modules() if isinstance(m, RangeControl)), 5.0)
