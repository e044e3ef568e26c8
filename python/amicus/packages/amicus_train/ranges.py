"""How far activations leave the interval they are meant for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from .structure import activations


@dataclass
class LayerRange:
    """Arguments t of one activation over a set of images, compared with [-B, B]."""

    layer: str
    values: int = 0
    escaped: int = 0
    images: int = 0
    images_escaped: int = 0
    largest: float = 0.0
    squares: float = 0.0

    def add(self, u: Tensor) -> None:
        """Adds u = t / B, one row an image."""
        u = u.detach().float().flatten(1).abs()
        outside = u > 1.0
        self.values += u.numel()
        self.escaped += int(outside.sum())
        self.images += len(u)
        self.images_escaped += int(outside.any(1).sum())
        self.largest = max(self.largest, float(u.max()))
        self.squares += float(u.square().sum())

    @property
    def rms(self) -> float:
        return math.sqrt(self.squares / max(self.values, 1))

    def summary(self) -> dict[str, float | int | str]:
        return {**{k: v for k, v in asdict(self).items() if k != "squares"}, "rms": self.rms}


@contextmanager
def watch(model: nn.Module, interval: float) -> Iterator[list[LayerRange]]:
    """Collects the ranges of every activation while the model runs inside the `with`."""
    ranges, handles = [], []
    for name, module in activations(model).items():
        entry = LayerRange(name)
        ranges.append(entry)

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], entry: LayerRange = entry) -> None:
            entry.add(inputs[0] / interval)

        handles.append(module.register_forward_pre_hook(hook))
    try:
        yield ranges
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def reestimate(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """BatchNorm's running statistics, computed anew as means over `batches` with the final weights."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    was_training = model.training
    model.train()
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    model.train(was_training)
