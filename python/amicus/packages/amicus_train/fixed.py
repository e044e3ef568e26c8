"""Fixed-point-aware training: the rounding of the integer arithmetic in the forward pass.

Private inference rounds the weights (BatchNorm folded in, so per channel at the scale BatchNorm gives them) to
multiples of 2^-weight_bits and every activation's argument u = t / B to multiples of 2^-argument_bits. Gradients pass
as if nothing were rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from .activation import PolyActivation, round_through
from .structure import Structure


class _RoundedWeight(nn.Module):
    """Rounds a weight as it is after folding in the BatchNorm behind it."""

    def __init__(self, norm: nn.Module, interval: float, bits: int) -> None:
        super().__init__()
        # In a list, or the norm's parameters would be registered twice.
        self.norm, self.interval, self.bits = [norm], interval, bits

    def forward(self, weight: Tensor) -> Tensor:
        norm = self.norm[0]
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_var is not None
        folded = (norm.weight / (norm.running_var + norm.eps).sqrt() / self.interval).detach()
        folded = folded.abs().clamp_min(1e-6).view(-1, *([1] * (weight.dim() - 1)))
        return round_through(weight * folded, self.bits) / folded


class FixedPoint:
    """Switches rounding of a network's weights and arguments on and off; both are no-ops when already so."""

    def __init__(self, model: nn.Module, argument_bits: int, weight_bits: int) -> None:
        self.model, self.argument_bits, self.weight_bits = model, argument_bits, weight_bits
        self.foldings = Structure(model).foldings()
        self.on = False

    def _layers(self) -> list[tuple[nn.Module, nn.Module]]:
        """(linear layer, the BatchNorm that is folded into it)."""
        return [(self.model.get_submodule(a), self.model.get_submodule(b)) for a, b in self.foldings]

    def switch_on(self) -> None:
        if self.on:
            return
        self.on = True
        for module in self.model.modules():
            if isinstance(module, PolyActivation):
                module.fraction_bits = self.argument_bits
                interval = module.interval
        for layer, norm in self._layers():
            parametrize.register_parametrization(layer, "weight", _RoundedWeight(norm, interval, self.weight_bits))

    @torch.no_grad()
    def switch_off(self) -> None:
        if not self.on:
            return
        self.on = False
        for module in self.model.modules():
            if isinstance(module, PolyActivation):
                module.fraction_bits = None
        for layer, _ in self._layers():
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
