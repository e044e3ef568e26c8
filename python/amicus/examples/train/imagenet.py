"""Large networks with polynomial activations, or with ReLU as they are, and seeded random weights, as ONNX.

    python examples/train/imagenet.py resnet50 --degree 6 --folder DIR    (with amicus[train] installed)
    python examples/train/imagenet.py resnet18 --relu --folder DIR

writes DIR/resnet50.onnx, and DIR/images.npz with noise to calibrate on. Nothing is learned: BatchNorm gets the statistics
of a few images and, before polynomials, gammas that keep every activation inside its interval, as training would, so that
what the network costs in private inference can be measured. With --relu max pooling stands where the original has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from amicus_train import polynomialize, to_onnx
from amicus_train.norm import RangeControl

IMAGES = 8
# How much of its interval an activation uses on these images, at most. The rest is for other images, which deep random
# networks carry far from these: ResNet-50 still leaves its intervals on some noise.
REACH = 0.4


def normed(module: nn.Conv2d | nn.Linear) -> list[nn.Module]:
    """The layer with BatchNorm and activation behind it."""
    outputs = module.weight.shape[0]
    return [module, nn.BatchNorm1d(outputs) if isinstance(module, nn.Linear) else nn.BatchNorm2d(outputs), nn.ReLU()]


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)


class Block(nn.Module):
    """A residual block whose last BatchNorm and activation follow the sum."""

    def __init__(self, inputs: int, layers: list[nn.Module], outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv(inputs, outputs, 1, stride)
        self.norm, self.activation = nn.BatchNorm2d(outputs), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.layers(x) + self.shortcut(x)))


def basic(inputs: int, width: int, stride: int) -> Block:
    return Block(inputs, [*normed(conv(inputs, width, 3, stride, 1)), conv(width, width, 3, 1, 1)], width, stride)


def bottleneck(inputs: int, width: int, stride: int) -> Block:
    layers = [*normed(conv(inputs, width, 1)), *normed(conv(width, width, 3, stride, 1)), conv(width, 4 * width, 1)]
    return Block(inputs, layers, 4 * width, stride)


def resnet(block: Callable[[int, int, int], Block], expansion: int, blocks: tuple[int, ...]) -> nn.Module:
    layers: list[nn.Module] = [*normed(conv(3, 64, 7, 2, 3)), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for position in range(count):
            layers.append(block(inputs, width, 2 if stage and not position else 1))
            inputs = expansion * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers.extend(normed(conv(inputs, width, 3, 1, 1)))
            inputs = width
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), *normed(nn.Linear(25088, 4096)), *normed(nn.Linear(4096, 4096)), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers)


def alexnet() -> nn.Module:
    """Pools 3 x 3 at stride 2, fully connected 9216-9216-4096-1000, as other systems for private inference run it."""
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        *normed(conv(3, 96, 11, 4, 2)), pool, *normed(conv(96, 256, 5, 1, 2)), pool, *normed(conv(256, 384, 3, 1, 1)),
        *normed(conv(384, 384, 3, 1, 1)), *normed(conv(384, 256, 3, 1, 1)), pool, nn.Flatten(),
        *normed(nn.Linear(9216, 9216)), *normed(nn.Linear(9216, 4096)), nn.Linear(4096, 1000),
    )  # fmt: skip


def alexnet32() -> nn.Module:
    """AlexNet for 32 x 32 images and ten classes, with average pools, as `alexnet-cifar10`."""
    layers: list[nn.Module] = []
    inputs = 3
    for width, pooled in ((64, True), (192, True), (384, False), (256, False), (256, True)):
        layers += [*normed(conv(inputs, width, 3, 1, 1)), *([nn.AvgPool2d(2)] if pooled else [])]
        inputs = width
    layers += [nn.Flatten(), *normed(nn.Linear(4096, 1024)), *normed(nn.Linear(1024, 512)), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": alexnet,
    "alexnet32": alexnet32,
    "vgg16": vgg16,
    "resnet18": lambda: resnet(basic, 1, (2, 2, 2, 2)),
    "resnet50": lambda: resnet(bottleneck, 4, (3, 4, 6, 3)),
}


@torch.no_grad()
def settle(model: nn.Module, x: Tensor) -> None:
    """Statistics of `x` and smaller gammas for every BatchNorm, in the order of the data's way."""

    def observe(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.modules.batchnorm._BatchNorm)
        axes = [0, *range(2, inputs[0].dim())]
        norm.running_mean = inputs[0].mean(axes)
        norm.running_var = inputs[0].var(axes, correction=0)

    def shrink(norm: nn.Module, _: tuple[Tensor, ...], y: Tensor) -> Tensor:
        assert isinstance(norm, RangeControl) and isinstance(norm, nn.modules.batchnorm._BatchNorm)
        factor = (REACH * norm.interval / y.abs().max()).clamp_max(1.0)
        norm.weight.mul_(factor)
        norm.bias.mul_(factor)
        return y * factor

    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    handles = [norm.register_forward_pre_hook(observe) for norm in norms]
    handles += [norm.register_forward_hook(shrink) for norm in norms if isinstance(norm, RangeControl)]
    model(x)
    for handle in handles:
        handle.remove()


def average(model: nn.Module) -> None:
    """Means in place of maxima, in place."""
    for name, pool in list(model.named_modules()):
        if isinstance(pool, nn.MaxPool2d):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", choices=tuple(NETWORKS))
    parser.add_argument("--degree", type=int, default=6)
    parser.add_argument("--relu", action="store_true", help="ReLU and max pooling as they are, no polynomials")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    size = 32 if args.network == "alexnet32" else 224
    x = torch.rand(IMAGES, 3, size, size)
    model = NETWORKS[args.network]()
    if not args.relu:
        average(model)
        model = polynomialize(model, degree=args.degree)
    settle(model, x)
    to_onnx(model, args.folder / f"{args.network}.onnx", (3, size, size))
    np.savez(args.folder / "images.npz", x=x.numpy())
    print(f"wrote {args.folder / args.network}.onnx and images.npz")


if __name__ == "__main__":
    main()
