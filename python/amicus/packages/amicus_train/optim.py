"""The optimiser: orthogonalised momentum for matrices, AdamW for the rest.

Jordan et al., "Muon: an optimizer for hidden layers" (2024): a matrix moves along the closest orthogonal matrix to its
momentum, found by a Newton-Schulz iteration. Behind BatchNorm only a matrix's direction matters, so steps here are
relative to its norm, and the norm stays what it was: the learning rate is an angle in radians.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The quintic iteration of the source; it takes singular values to about 1, not exactly.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_STEPS = 5
# A matrix's smaller side up to which orthogonalising is worth its cubic cost.
_SIDE = 512


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T for the singular value decomposition U S V^T of a matrix with two dimensions."""
    x = matrix.bfloat16() if matrix.is_cuda else matrix.float()
    tall = x.shape[0] > x.shape[1]
    if tall:
        x = x.T
    x = x / (x.norm() + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Moves every parameter by the angle `lr` along its orthogonalised Nesterov momentum; norms stay as they are."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.9) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(gradient)
                moving = state["momentum"].mul_(group["momentum"]).add_(gradient)
                ahead = gradient + group["momentum"] * moving
                update = orthogonalised(ahead.flatten(1)).view_as(parameter)
                norm = parameter.norm()
                parameter.sub_(update * (group["lr"] * norm / (update.norm() + 1e-12)))
                parameter.mul_(norm / (parameter.norm() + 1e-12))


def optimisers(
    model: nn.Module, matrices: float, others: float, weight_decay: float, output: str
) -> list[torch.optim.Optimizer]:
    """`Muon` with peak rate `matrices` for hidden matrices and kernels, AdamW with `others` for everything else.

    `output` names the last layer, which no BatchNorm follows. With `matrices` 0, AdamW takes all.
    """
    hidden, decayed, plain = [], [], []
    for name, parameter in model.named_parameters():
        side = min(parameter.shape[0], parameter[0].numel()) if parameter.dim() > 1 else 0
        if parameter.dim() < 2:
            plain.append(parameter)
        elif matrices > 0 and side <= _SIDE and name != f"{output}.weight":
            hidden.append(parameter)
        else:
            decayed.append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    result: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=others, betas=(0.9, 0.99))]
    if hidden:
        result.insert(0, Muon(hidden, matrices))
    return result
