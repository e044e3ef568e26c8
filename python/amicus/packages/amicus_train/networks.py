"""The networks that ship, as ReLU teachers; `polynomialize` makes students of them."""

from __future__ import annotations

from torch import Tensor, nn

EPS = 1e-5
POOLS: dict[str, type[nn.AvgPool2d | nn.MaxPool2d]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


class Network(nn.Module):
    """A network that the Rust side knows by name too."""

    architecture: str
    input_shape: tuple[int, int, int]
    input_rule: str
    pool_kind: str = "average"


class LeNet5(Network):
    """conv 6@5 p2, pool, conv 16@5, pool, fully connected 400-120-84-10; BatchNorm before every activation.

    `pool` is "average" or "max".
    """

    architecture, input_shape, input_rule = "lenet5", (1, 28, 28), "pixel/255"

    def __init__(self, pool: str = "average") -> None:
        super().__init__()
        self.pool_kind = pool
        self.conv1, self.bn1, self.act1 = nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6, EPS), nn.ReLU()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(6, 16, 5), nn.BatchNorm2d(16, EPS), nn.ReLU()
        self.fc1, self.bn3, self.act3 = nn.Linear(400, 120), nn.BatchNorm1d(120, EPS), nn.ReLU()
        self.fc2, self.bn4, self.act4 = nn.Linear(120, 84), nn.BatchNorm1d(84, EPS), nn.ReLU()
        self.fc3 = nn.Linear(84, 10)
        self.pool = POOLS[pool](2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = self.pool(self.act2(self.bn2(self.conv2(x))))
        x = self.act3(self.bn3(self.fc1(x.flatten(1))))
        return self.fc3(self.act4(self.bn4(self.fc2(x))))


class LastPool(nn.Module):
    """A pool of 2 x 2; smaller images than 8 x 8, as early in training, are pooled to the same 4 x 4."""

    keeps_scale = True

    def __init__(self, pool: str = "average") -> None:
        super().__init__()
        self.pool_kind = pool

    def forward(self, x: Tensor) -> Tensor:
        # Functions, not modules: a module with others inside would be traced through, at its choice of sizes.
        whole = x.shape[-1] == 8
        if self.pool_kind == "max":
            result: Tensor = nn.functional.max_pool2d(x, 2) if whole else nn.functional.adaptive_max_pool2d(x, 4)
            return result
        return nn.functional.avg_pool2d(x, 2) if whole else nn.functional.adaptive_avg_pool2d(x, 4)


class AlexNetCifar(Network):
    """conv 64-192-384-256-256, all 3x3; pools after 1, 2, 5; fully connected 4096-1024-512-10. `pool` as above."""

    architecture, input_shape, input_rule = "alexnet-cifar", (3, 32, 32), "pixel/127.5-1"

    def __init__(self, pool: str = "average") -> None:
        super().__init__()
        self.pool_kind = pool
        channels = (3, 64, 192, 384, 256, 256)
        for i in range(1, 6):
            setattr(self, f"conv{i}", nn.Conv2d(channels[i - 1], channels[i], 3, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(channels[i], EPS))
            setattr(self, f"act{i}", nn.ReLU())
        self.fc1, self.bn6, self.act6 = nn.Linear(4096, 1024, bias=False), nn.BatchNorm1d(1024, EPS), nn.ReLU()
        self.fc2, self.bn7, self.act7 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512, EPS), nn.ReLU()
        self.fc3 = nn.Linear(512, 10)
        self.pool, self.last_pool = POOLS[pool](2), LastPool(pool)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.act1(self.bn1(self.conv1(x))))
        x = self.pool(self.act2(self.bn2(self.conv2(x))))
        x = self.act3(self.bn3(self.conv3(x)))
        x = self.act4(self.bn4(self.conv4(x)))
        x = self.last_pool(self.act5(self.bn5(self.conv5(x))))
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
    """conv 3x3, three residual blocks of widths w, 2w, 4w, mean over the image, fully connected 4w-10."""

    architecture, input_shape, input_rule = "resnet8", (3, 32, 32), "pixel/127.5-1"

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1, self.act1 = nn.BatchNorm2d(width, EPS), nn.ReLU()
        self.s1, self.s2, self.s3 = Stage(width, width, 1), Stage(width, 2 * width, 2), Stage(2 * width, 4 * width, 2)
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.s3(self.s2(self.s1(self.act1(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


NETWORKS: dict[str, type[Network]] = {cls.architecture: cls for cls in (LeNet5, AlexNetCifar, ResNet8)}


def build(architecture: str, width: int | None = None, pool: str | None = None) -> Network:
    """A fresh network; `width` is for resnet8 only, `pool` for the others. Raises ValueError for what does not exist."""
    if architecture not in NETWORKS:
        raise ValueError(f"unknown model {architecture!r}, known: {', '.join(NETWORKS)}")
    if width is not None and (architecture != "resnet8" or width < 1):
        raise ValueError(f"{architecture} of width {width}: only resnet8 has a width, 1 or more")
    if architecture == "resnet8":
        if pool not in (None, "average"):
            raise ValueError(f"resnet8 with pools of kind {pool}: it has none")
        return ResNet8(width or 16)
    if pool is not None and pool not in POOLS:
        raise ValueError(f"unknown pool {pool!r}, known: {', '.join(POOLS)}")
    return LeNet5(pool or "average") if architecture == "lenet5" else AlexNetCifar(pool or "average")
