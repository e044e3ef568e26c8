"""Weighted means of networks that went on from each other: one network, often better than any of them.

Izmailov et al., "Averaging weights leads to wider optima and better generalization" (2018). BatchNorm's statistics are
not averaged but taken anew: those of a mean of weights are others than the mean of theirs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from .activation import PolyActivation
from .networks import Network
from .structure import activations


def mean(models: Sequence[tuple[Network, float]]) -> Network:
    """The mean of networks with the same architecture and polynomials; shares are relative to their sum.

    Raises ValueError when there is none, a share is not above 0, or the networks differ.
    """
    if not models:
        raise ValueError("no networks to take the mean of")
    first, total = models[0][0], sum(share for _, share in models)
    for model, share in models:
        if not 0 < share < float("inf"):
            raise ValueError(f"share {share}, must be above 0 and finite")
        if _kind(model) != _kind(first):
            raise ValueError("only networks of one architecture, with the same polynomials, have a mean")
    result, states = copy.deepcopy(first), [(model.state_dict(), share / total) for model, share in models]
    result.load_state_dict(
        {
            name: torch.stack([state[name].double() * share for state, share in states]).sum(0).to(value.dtype)
            for name, value in first.state_dict().items()
        }
    )
    return result


def _kind(model: Network) -> tuple[object, ...]:
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    polynomials = [
        (act.interval, act.coefficients.tolist()) if isinstance(act, PolyActivation) else None
        for act in activations(model).values()
    ]
    return model.architecture, shapes, polynomials
