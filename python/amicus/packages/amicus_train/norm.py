"""BatchNorm that keeps what follows inside an interval."""

from __future__ import annotations

import torch
from torch import nn


class RangeControl:
    """The projection shared by both shapes of input."""

    interval: float
    sigmas: float

    def set_range(self, interval: float, sigmas: float) -> None:
        if not (interval > 0 and sigmas > 0):
            raise ValueError(f"interval {interval} and sigmas {sigmas} must be above 0")
        self.interval, self.sigmas = float(interval), float(sigmas)

    @torch.no_grad()
    def project(self) -> None:
        """Shrinks gamma and beta of a channel, both by the same factor, until |beta| + sigmas |gamma| <= interval.

        A channel's output has mean beta and standard deviation |gamma|, so this keeps mean +- sigmas standard deviations
        inside the interval. Called after every optimiser step.
        """
        assert isinstance(self, nn.modules.batchnorm._BatchNorm)
        reach = self.bias.abs() + self.sigmas * self.weight.abs()
        factor = (self.interval / reach.clamp_min(1e-12)).clamp_max(1.0)
        self.weight.mul_(factor)
        self.bias.mul_(factor)


class RangeBatchNorm2d(RangeControl, nn.BatchNorm2d):
    """BatchNorm over channels whose output stays in [-interval, interval] up to `sigmas` standard deviations."""

    def __init__(self, channels: int, interval: float = 4.0, sigmas: float = 5.0, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)
        self.set_range(interval, sigmas)


class RangeBatchNorm1d(RangeControl, nn.BatchNorm1d):
    """The same for flat values."""

    def __init__(self, channels: int, interval: float = 4.0, sigmas: float = 5.0, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)
        self.set_range(interval, sigmas)


RangeBatchNorm = RangeBatchNorm2d


def project(model: nn.Module) -> None:
    """Projects every RangeBatchNorm of the model."""
    for module in model.modules():
        if isinstance(module, RangeControl):
            module.project()
