"""From a ReLU network to a polynomial one."""

from __future__ import annotations

import copy

import torch
from torch import nn

from .activation import PolyActivation
from .norm import RangeBatchNorm1d, RangeBatchNorm2d
from .structure import ACTIVATIONS, equalise


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` where the submodule `name` was."""
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, module)


def polynomialize(
    model: nn.Module,
    *,
    interval: float = 4.0,
    degree: int = 6,
    sigmas: float = 5.0,
    sigma: float | None = None,
    learned: bool = False,
    equalised: bool = True,
    project_norms: bool = True,
) -> nn.Module:
    """A copy of `model` whose activations are polynomials of `degree` on [-interval, interval].

    ReLU, SiLU, GELU, sigmoid and tanh become `PolyActivation`s fitted to them for arguments of standard deviation `sigma`
    (default: interval / sigmas). BatchNorm becomes `RangeBatchNorm`, which keeps mean +- `sigmas` standard deviations inside
    the interval. `equalised` first scales the ReLUs' arguments, channel by channel, to use the whole interval; that
    changes nothing of what the ReLU network computes.

    Activations must be modules: `torch.relu` inside a `forward` is not seen. Raises ValueError when there are none.
    """
    model = copy.deepcopy(model)
    if not any(type(module) in ACTIVATIONS for module in model.modules()):
        raise ValueError(f"no activation modules found; known are {', '.join(k.__name__ for k in ACTIVATIONS)}")
    if equalised:
        equalise(model, interval, sigmas)
    for name, module in list(model.named_modules()):
        if type(module) in ACTIVATIONS:
            poly = PolyActivation(
                interval, degree=degree, sigma=sigma or interval / sigmas, function=ACTIVATIONS[type(module)],
                learned=learned,
            )  # fmt: skip
            replace(model, name, poly)
    if project_norms:
        control_ranges(model, interval, sigmas)
    return model


def rectify(model: nn.Module) -> None:
    """Puts ReLU where the model has polynomials, which were fitted to it."""
    for name, module in list(model.named_modules()):
        if isinstance(module, PolyActivation):
            replace(model, name, nn.ReLU())


@torch.no_grad()
def control_ranges(model: nn.Module, interval: float, sigmas: float) -> None:
    """Puts a projected `RangeBatchNorm` in place of every BatchNorm."""
    for name, module in list(model.named_modules()):
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            flat = type(module) is nn.BatchNorm1d
            norm = (RangeBatchNorm1d if flat else RangeBatchNorm2d)(module.num_features, interval, sigmas, module.eps)
            norm.load_state_dict(module.state_dict())
            norm.project()
            replace(model, name, norm)
