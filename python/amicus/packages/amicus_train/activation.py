"""The polynomial activation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .fit import least_squares
from .kernel import TrainedPolynomial


_MODULES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def horner(coefficients: Sequence[Tensor], u: Tensor) -> Tensor:
    """p(u) for the coefficients a_0 .. a_d."""
    value = coefficients[-1] * u + coefficients[-2]
    for coefficient in reversed(coefficients[:-2]):
        value = value * u + coefficient
    return value


class PolyActivation(nn.Module):
    """`(1 - blend) f(t) + blend p(t / interval)`: f is what p stands in for, p a polynomial in powers of u = t / interval.

    `blend` starts at 1 (only the polynomial) and is moved by the training loop during a warm start. While training, p goes
    on as a straight line outside the interval, so that a stray value cannot blow up the step; in `eval` mode it is the
    polynomial everywhere, as in private inference.

    `learned` makes the coefficients parameters of this layer; the interval stays fixed.
    """

    interval: float

    def __init__(
        self,
        interval: float = 4.0,
        coefficients: Sequence[float] | None = None,
        *,
        degree: int = 6,
        sigma: float | None = None,
        function: str = "relu",
        learned: bool = False,
        fraction_bits: int | None = None,
    ) -> None:
        super().__init__()
        if coefficients is None:
            coefficients = least_squares(function, interval, degree, sigma or interval / 5)
        if not 2 <= len(coefficients) <= 9:
            raise ValueError(f"{len(coefficients)} coefficients, expected 2 to 9")
        if function not in _MODULES:
            raise ValueError(f"unknown function {function!r}, known: {', '.join(_MODULES)}")
        self.interval, self.function = float(interval), function
        self.fraction_bits = fraction_bits
        values = torch.tensor(list(coefficients), dtype=torch.float32)
        if learned:
            self.coefficients = nn.Parameter(values)
        else:
            self.register_buffer("coefficients", values)
        self.register_buffer("penalty", torch.zeros(2), persistent=False)
        self.blend = 1.0

    @property
    def degree(self) -> int:
        return self.coefficients.numel() - 1

    def set_penalty(self, weight: float, margin: float) -> None:
        """Adds the gradient of `weight * max(0, |t| / interval - margin)^2`, summed over activations, while training.

        The loss is a mean over images, so `weight` is the penalty's weight over the number of images in a step.
        """
        self.penalty.copy_(torch.tensor([weight, margin]))

    def forward(self, t: Tensor) -> Tensor:
        if self.fraction_bits is not None:
            t = round_through(t / self.interval, self.fraction_bits) * self.interval
        if not self.training:
            p = horner(self.coefficients.unbind(), t.float() / self.interval).to(t.dtype)
            return p if self.blend >= 1.0 else (1.0 - self.blend) * _MODULES[self.function](t) + self.blend * p
        # With ReLU, one pass over memory does both parts.
        inside = self.function == "relu"
        inverse, blend = torch.tensor(1.0 / self.interval), torch.tensor(min(self.blend, 1.0) if inside else 1.0)
        p = TrainedPolynomial.apply(t, self.coefficients, inverse, blend, self.penalty[1], self.penalty[0])
        return p if inside or self.blend >= 1.0 else (1.0 - self.blend) * _MODULES[self.function](t) + self.blend * p

    def written_out(self) -> nn.Module:
        """The polynomial as every exporter writes it: products and sums."""
        return _WrittenOut(self)

    def extra_repr(self) -> str:
        return f"interval={self.interval}, degree={self.degree}, blend={self.blend}"


def round_through(x: Tensor, fraction_bits: int) -> Tensor:
    """x rounded to multiples of 2^-fraction_bits; gradients pass as if it were x."""
    scale = float(2**fraction_bits)
    return x + (torch.round(x.float() * scale) / scale - x).detach().to(x.dtype)


class _WrittenOut(nn.Module):
    """A polynomial with its coefficients as constants, which every exporter writes as products and sums."""

    def __init__(self, polynomial: PolyActivation) -> None:
        super().__init__()
        self.interval, self.coefficients = polynomial.interval, polynomial.coefficients.tolist()

    def forward(self, t: Tensor) -> Tensor:
        u = t * (1.0 / self.interval)
        value = u * self.coefficients[-1] + self.coefficients[-2]
        for coefficient in reversed(self.coefficients[:-2]):
            value = value * u + coefficient
        return value
