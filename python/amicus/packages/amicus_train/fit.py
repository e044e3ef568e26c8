"""Polynomials that stand in for activation functions on a fixed interval.

Weighted least squares on [-B, B] in powers of u = t / B. The weight is a Gaussian density mixed with a small even part,
without which the ends of the interval, hardly ever visited, would be free to blow up.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

Function = Callable[[np.ndarray], np.ndarray]


def _gelu(t: np.ndarray) -> np.ndarray:
    return 0.5 * t * (1.0 + np.vectorize(math.erf)(t / math.sqrt(2.0)))


FUNCTIONS: dict[str, Function] = {
    "relu": lambda t: np.maximum(t, 0.0),
    "silu": lambda t: t / (1.0 + np.exp(-t)),
    "gelu": _gelu,
    "sigmoid": lambda t: 1.0 / (1.0 + np.exp(-t)),
    "tanh": np.tanh,
}

_PANELS = 256
_EVEN_PART = 0.02


def least_squares(
    function: str | Function = "relu", interval: float = 4.0, degree: int = 6, sigma: float = 1.0
) -> list[float]:
    """Coefficients a_0 .. a_degree of p(u), u = t / interval, closest to `function` for t of standard deviation `sigma`.

    Raises ValueError for an unknown function, a degree outside 2 to 8, or an interval or sigma that is not above 0.
    """
    if isinstance(function, str):
        if function not in FUNCTIONS:
            raise ValueError(f"unknown function {function!r}, known: {', '.join(FUNCTIONS)}")
        function = FUNCTIONS[function]
    if not 2 <= degree <= 8:
        raise ValueError(f"degree {degree}, allowed are 2 to 8")
    if not (interval > 0 and math.isfinite(interval) and sigma > 0 and math.isfinite(sigma)):
        raise ValueError(f"interval {interval} and sigma {sigma} must be above 0 and finite")
    # Five-point Gauss-Legendre on equal panels; a panel ends at 0, where ReLU has its kink.
    points, weights = np.polynomial.legendre.leggauss(5)
    ends = np.linspace(-1.0, 1.0, 2 * _PANELS + 1)
    half = 0.5 * (ends[1] - ends[0])
    u = ((ends[:-1] + ends[1:])[:, None] / 2 + half * points[None, :]).ravel()
    spread = sigma / interval
    gauss = np.exp(-0.5 * (u / spread) ** 2) / (spread * math.sqrt(2.0 * math.pi))
    quadrature = np.tile(half * weights, 2 * _PANELS)
    density = quadrature * ((1 - _EVEN_PART) * gauss + _EVEN_PART / 2)
    # Legendre polynomials as basis: their normal equations are well conditioned up to degree 8.
    basis = np.polynomial.legendre.legvander(u, degree)
    root = np.sqrt(density)
    solution, *_ = np.linalg.lstsq(basis * root[:, None], function(u * interval) * root, rcond=None)
    powers = np.polynomial.legendre.leg2poly(solution)
    # What is 0 but for rounding (ReLU's odd coefficients from the third on) becomes 0.
    powers[np.abs(powers) < 1e-9 * np.abs(powers).max()] = 0.0
    return [float(c) for c in np.pad(powers, (0, degree + 1 - len(powers)))]
