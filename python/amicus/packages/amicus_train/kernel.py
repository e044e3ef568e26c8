"""The polynomial activation while training: value and derivative in one pass over memory each.

Out of a framework's elementary operations, degree 6 with its guard and its penalty takes some thirty passes. Here both
directions are plain functions of one flat array, fused by `torch.compile` where a compiler is at hand and run as they
are where not.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor


def _value(t: Tensor, coefficients: Tensor, inverse: Tensor, blend: Tensor) -> Tensor:
    x = t.float()
    u = x * inverse
    inside = u.clamp(-1.0, 1.0)
    degree = coefficients.numel() - 1
    p = coefficients[degree]
    slope = p * degree
    for k in range(degree - 1, -1, -1):
        p = p * inside + coefficients[k]
        if k:
            slope = slope * inside + coefficients[k] * k
    # Outside the interval the tangent at its end goes on.
    p = p + slope * (u - inside)
    return ((1.0 - blend) * torch.relu(x) + blend * p).to(t.dtype)


def _derivative(
    t: Tensor, gradient: Tensor, coefficients: Tensor, inverse: Tensor, blend: Tensor, margin: Tensor, weight: Tensor
) -> Tensor:
    x = t.float()
    u = x * inverse
    inside = u.clamp(-1.0, 1.0)
    degree = coefficients.numel() - 1
    slope = coefficients[degree] * degree
    for k in range(degree - 1, 0, -1):
        slope = slope * inside + coefficients[k] * k
    whole = (1.0 - blend) * (x > 0).float() + blend * slope * inverse
    # Derivative of weight max(0, |u| - margin)^2.
    escape = 2.0 * weight * inverse * (u - u.clamp(-margin, margin))
    return (gradient.float() * whole + escape).to(t.dtype)


def _powers(t: Tensor, gradient: Tensor, inverse: Tensor, degree: int) -> Tensor:
    u = (t.float() * inverse).clamp(-1.0, 1.0)
    g = gradient.float()
    sums = [g.sum()]
    for _ in range(degree):
        g = g * u
        sums.append(g.sum())
    return torch.stack(sums)


def _fuse(function: Any) -> Any:
    if os.environ.get("AMICUS_TRAIN_COMPILE", "1") == "0":
        return function
    compiled = torch.compile(function, dynamic=True)
    usable = True

    def call(*arguments: Any) -> Any:
        nonlocal usable
        if usable:
            try:
                return compiled(*arguments)
            except Exception:  # no compiler on this machine: the same, slower
                usable = False
        return function(*arguments)

    return call


value, derivative = _fuse(_value), _fuse(_derivative)


def _flat(x: Tensor) -> Tensor:
    """A view of x as one row, in the order of its memory where that is channels last."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1).reshape(-1)
    return x.reshape(-1)


def _like(flat: Tensor, x: Tensor) -> Tensor:
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        n, c, h, w = x.shape
        return flat.view(n, h, w, c).permute(0, 3, 1, 2)
    return flat.view(x.shape)


class TrainedPolynomial(torch.autograd.Function):
    """p(t / B) with the penalty's gradient added on the way back: the penalty's value is never needed."""

    @staticmethod
    def forward(
        ctx: Any, t: Tensor, coefficients: Tensor, inverse: Tensor, blend: Tensor, margin: Tensor, weight: Tensor
    ) -> Tensor:
        ctx.save_for_backward(t, coefficients, inverse, blend, margin, weight)
        # Detached, or it would be compiled again for every combination of what needs a gradient.
        return _like(value(_flat(t.detach()), coefficients.detach(), inverse, blend), t)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        t, coefficients, inverse, blend, margin, weight = ctx.saved_tensors
        if t.dim() == 4 and t.is_contiguous(memory_format=torch.channels_last):
            gradient = gradient.contiguous(memory_format=torch.channels_last)
        else:
            gradient = gradient.contiguous()
        flat, towards = _flat(t), _flat(gradient)
        back = _like(derivative(flat, towards, coefficients, inverse, blend, margin, weight), t)
        learned = None
        if ctx.needs_input_grad[1]:
            learned = blend * _powers(flat, towards, inverse, coefficients.numel() - 1)
        return back, learned, None, None, None, None
