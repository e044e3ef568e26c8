"""What reads what in a network: found by tracing it once, so that models of any shape can be treated alike."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import fx, nn

from .activation import PolyActivation

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_LINEAR = (nn.Conv2d, nn.Linear)
# What gives s y where it gave y, when a channel of its argument is multiplied by s > 0.
_TRANSPARENT = (nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d, nn.Identity)
_TRANSPARENT_CALLS = {"flatten", "mean", "view", "reshape"}
_SHAPES = {"size", "dim"}


@dataclass(frozen=True)
class Scaling:
    """A ReLU whose argument may be scaled per channel: only linear layers read its result.

    `relu(s t) = s relu(t)`, so BatchNorm times s and the readers' weights over s leave the network as it is.
    """

    norm: str
    readers: tuple[str, ...]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return not list(module.children()) or super().is_leaf_module(module, name)


class Structure:
    """The traced network. For one whose `forward` depends on values, nothing is found."""

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules())
        try:
            self.nodes = list(_Tracer().trace(model).nodes)
        except (fx.proxy.TraceError, TypeError, ValueError):
            self.nodes = []

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def scalings(self) -> list[Scaling]:
        """Every BatchNorm that only a ReLU reads, whose result only linear layers read."""
        found = []
        for node in self.nodes:
            norm = self._module(node)
            if isinstance(norm, _NORMS) and len(node.users) == 1:
                (activation,) = node.users
                if isinstance(self._module(activation), nn.ReLU):
                    readers = self._readers(activation)
                    if readers:
                        found.append(Scaling(str(node.target), tuple(readers)))
        return found

    def _readers(self, node: fx.Node) -> list[str] | None:
        """The linear layers that read `node`, through pools and the like; none if anything else does."""
        found: list[str] = []
        for user in node.users:
            module = self._module(user)
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                return None
            if isinstance(module, _LINEAR):
                found.append(str(user.target))
                continue
            if not self._transparent(user):
                return None
            further = self._readers(user)
            if further is None:
                return None
            found.extend(further)
        return found

    def _transparent(self, node: fx.Node) -> bool:
        module = self._module(node)
        if module is not None:
            return isinstance(module, _TRANSPARENT) or getattr(module, "keeps_scale", False)
        name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
        return name in _TRANSPARENT_CALLS | _SHAPES

    def foldings(self) -> list[tuple[str, str]]:
        """(linear layer, the BatchNorm that is folded into it), also through the sum of a residual block."""
        found = []
        for node in self.nodes:
            if isinstance(self._module(node), _NORMS):
                for source in self._sources(node.all_input_nodes[0]):
                    if isinstance(self._module(source), _LINEAR):
                        found.append((str(source.target), str(node.target)))
        return found

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        if node.target in (operator.add, torch.add, "add", "add_"):
            return [s for argument in node.all_input_nodes for s in self._sources(argument)]
        return [node]


@torch.no_grad()
def equalise(model: nn.Module, interval: float, sigmas: float) -> None:
    """Scales every ReLU's argument, channel by channel, until |beta| + sigmas |gamma| = interval.

    The network computes the same as before: the readers' weights are divided by the same factors. Where an activation's
    result is also read by something else, an identity shortcut for example, its channels stay as they are.
    """
    for scaling in Structure(model).scalings():
        norm = model.get_submodule(scaling.norm)
        assert isinstance(norm, _NORMS)
        reach = norm.bias.abs() + sigmas * norm.weight.abs()
        # A dead channel stays dead instead of being blown up.
        factor = torch.where(reach > 1e-3 * interval, interval / reach, torch.ones_like(reach))
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        for name in scaling.readers:
            weight = model.get_submodule(name).weight
            assert isinstance(weight, torch.Tensor)
            # After flattening, a channel is a run of neighbouring inputs.
            inputs = factor.repeat_interleave(weight.shape[1] // factor.numel())
            weight.div_(inputs.view(1, -1, *([1] * (weight.dim() - 2))))


ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.GELU: "gelu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}


def activations(model: nn.Module) -> dict[str, nn.Module]:
    """The activation modules by name, in order of definition: polynomials and the functions they stand in for."""
    kinds: tuple[type[nn.Module], ...] = (PolyActivation, *ACTIVATIONS)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
