"""The networks that ship, as ReLU teachers; `polynomialize` makes students of them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPS = 1e-5


@dataclass(frozen=True)
class Scaling:
    """An activation whose argument may be scaled per channel: only linear layers read its result.

    With ReLU, `relu(s t) = s relu(t)`, so BatchNorm times s and the readers' weights over s leave the network as it is.
    """

    norm: str
    readers: tuple[str, ...]


class Network(nn.Module):
    """A network with named activations `act...`, in order of use."""

    architecture: str
    input_shape: tuple[int, int, int]
    input_rule: str

    def scalings(self) -> list[Scaling]:
        raise NotImplementedError

    def activations(self) -> "OrderedDict[str, nn.Module]":
        found = ((name, m) for name, m in self.named_modules() if name.split(".")[-1].startswith("act"))
        return OrderedDict(found)


class LeNet5(Network):
    """conv 6@5 p2, pool, conv 16@5, pool, fully connected 400-120-84-10; BatchNorm before every activation."""

    architecture, input_shape, input_rule = "lenet5", (1, 28, 28), "pixel/255"

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6, EPS), nn.ReLU()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16, EPS), nn.ReLU()
        self.fc1, self.bn3, self.act3 = nn.Linear(400, 120), nn.BatchNorm1d(120, EPS), nn.ReLU()
        self.fc2, self.bn4, self.act4 = nn.Linear(120, 84), nn.BatchNorm1d(84, EPS), nn.ReLU()
        self.fc3 = nn.Linear(84, 10)
        self.pool = nn.AvgPool2d(2)

    def scalings(self) -> list[Scaling]:
        return [Scaling(f"bn{i + 1}", (reader,)) for i, reader in enumerate(("conv2", "fc1", "fc2", "fc3"))]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = self.pool(self.act2(self.bn2(self.conv2(x))))
        x = self.act3(self.bn3(self.fc1(x.flatten(1))))
        return self.fc3(self.act4(self.bn4(self.fc2(x))))


class AlexNetCifar(Network):
    """conv 64-192-384-256-256, all 3x3; average pools after 1, 2, 5; fully connected 4096-1024-512-10."""

    architecture, input_shape, input_rule = "alexnet-cifar", (3, 32, 32), "pixel/127.5-1"

    def __init__(self) -> None:
        super().__init__()
        channels = (3, 64, 192, 384, 256, 256)
        for i in range(1, 6):
            setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels[i], EPS))
            setattr(self, f"act{i}", nn.ReLU())
        self.fc1, self.bn6, self.act6 = nn.Linear(4096, 1024, bias=False), nn.BatchNorm1d(1024, EPS), nn.ReLU()
        self.fc2, self.bn7, self.act7 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512, EPS), nn.ReLU()
        self.fc3 = nn.Linear(512, 10)
        self.pool = nn.AvgPool2d(2)

    def scalings(self) -> list[Scaling]:
        readers = ("conv2", "conv3", "conv4", "conv5", "fc1", "fc2", "fc3")
        return [Scaling(f"bn{i + 1}", (reader,)) for i, reader in enumerate(readers)]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = self.pool(self.act2(self.bn2(self.conv2(x))))
        x = self.act3(self.bn3(self.conv3(x)))
        x = self.act4(self.bn4(self.conv4(x)))
        x = self.pool(self.act5(self.bn5(self.conv5(x))))
        x = self.act6(self.bn6(self.fc1(x.flatten(1))))
        return self.fc3(self.act7(self.bn7(self.fc2(x))))


class Stage(nn.Module):
    """A residual block with BatchNorm after the sum, so that every activation has one right before it."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(outputs, EPS), nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2, self.act2 = nn.BatchNorm2d(outputs, EPS), nn.ReLU()
        plain = stride == 1 and inputs == outputs
        self.shortcut: nn.Module = nn.Identity() if plain else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.act1(self.bn1(self.conv1(x))))
        return self.act2(self.bn2(y + self.shortcut(x)))


class ResNet8(Network):
    """conv 3x3, three residual blocks of widths w, 2w, 4w, mean over the image, fully connected."""

    architecture, input_shape, input_rule = "resnet8", (3, 32, 32), "pixel/127.5-1"

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(width, EPS), nn.ReLU()
        self.s1, self.s2, self.s3 = Stage(width, width, 1), Stage(width, 2 * width, 2), Stage(2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, 10)

    def scalings(self) -> list[Scaling]:
        # What act1 gives also goes through an identity, which has no weights to divide.
        inner = [Scaling(f"s{i}.bn1", (f"s{i}.conv2",)) for i in (1, 2, 3)]
        outer = [Scaling(f"s{i}.bn2", (f"s{i + 1}.conv1", f"s{i + 1}.shortcut")) for i in (1, 2)]
        return inner + outer + [Scaling("s3.bn2", ("fc",))]

    def forward(self, x: Tensor) -> Tensor:
        x = self.s3(self.s2(self.s1(self.act1(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


NETWORKS: dict[str, type[Network]] = {cls.architecture: cls for cls in (LeNet5, AlexNetCifar, ResNet8)}


def build(architecture: str) -> Network:
    """A fresh network. Raises ValueError for an unknown name."""
    if architecture not in NETWORKS:
        raise ValueError(f"unknown model {architecture!r}, known: {', '.join(NETWORKS)}")
    return NETWORKS[architecture]()


@torch.no_grad()
def equalise(model: Network, interval: float, sigmas: float) -> None:
    """Scales every ReLU's argument, channel by channel, until |beta| + sigmas |gamma| = interval.

    The network computes the same as before: the readers' weights are divided by the same factors. Where an activation's
    result is also read by an identity shortcut, its channels stay as they are.
    """
    for scaling in model.scalings():
        norm = model.get_submodule(scaling.norm)
        reach = norm.bias.abs() + sigmas * norm.weight.abs()
        # A dead channel stays dead instead of being blown up.
        factor = torch.where(reach > 1e-3 * interval, interval / reach, torch.ones_like(reach))
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        for name in scaling.readers:
            weight = model.get_submodule(name).weight
            # After flattening, a channel is a run of neighbouring inputs.
            inputs = factor.repeat_interleave(weight.shape[1] // factor.numel())
            weight.div_(inputs.view(1, -1, *([1] * (weight.dim() - 2))))
