"""3 x 3 convolutions for training on a CPU, by Winograd's minimal filtering.

F(4 x 4, 3 x 3) of Lavin and Gray, "Fast algorithms for convolutional neural networks" (2016): a tile of 4 x 4 results takes
36 multiplications per pair of channels where the definition takes 144. Both gradients go through the same transforms, so
they too need a quarter. In f32 results differ from the definition by about 1e-5 of the largest.
"""

from __future__ import annotations

import ctypes
import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

# In one dimension, with interpolation at 0, 1, -1, 2, -2 and infinity; the other matrices are in winograd.c.
_FROM_KERNEL = torch.tensor(
    [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6],
     [0, 0, 1]], dtype=torch.float64,
)  # fmt: skip
_KERNELS = torch.kron(_FROM_KERNEL, _FROM_KERNEL).float()
# Channels on both sides from which the quarter of multiplications outweighs the transforms, and what divides them.
_CHANNELS, _BLOCK = 48, 8
_SOURCE = Path(__file__).with_name("winograd.c")


class _Work(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("images", "down", "across", "channels", "first", "last")]


@functools.cache
def _transforms() -> ctypes.CDLL | None:
    """winograd.c, compiled for this machine; none without a C compiler."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "winograd.so"
        options = ["-O3", "-march=native", "-shared", "-fPIC", "-o", str(library)]
        try:
            subprocess.run([*shlex.split(compiler), *options, str(_SOURCE)], check=True, capture_output=True)
            return ctypes.CDLL(str(library))
        except (OSError, subprocess.CalledProcessError):
            return None


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count())


def _transform(name: str, source: Tensor, to: Tensor, images: int, down: int, across: int) -> Tensor:
    """Runs a function of winograd.c from `source` into `to`, both with their channels last; gives `to`."""
    function, channels = getattr(_transforms(), name), source.shape[-1]
    parts = min(torch.get_num_threads(), images)

    def part(index: int) -> None:
        work = _Work(images, down, across, channels, images * index // parts, images * (index + 1) // parts)
        function(ctypes.c_void_p(source.data_ptr()), ctypes.c_void_p(to.data_ptr()), ctypes.byref(work))

    others = [_pool().submit(part, index) for index in range(1, parts)]
    part(0)
    for other in others:
        other.result()
    return to


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1).contiguous()


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        (n, inputs, height, width), outputs = x.shape, weight.shape[0]
        tiles = (n, height // 4, width // 4)
        count = n * tiles[1] * tiles[2]
        v = _transform("transform_input", _channels_last(x), x.new_empty(36, count, inputs), *tiles)
        u = (_KERNELS @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(36, inputs, outputs)
        y = x.new_empty(n, height, width, outputs)
        _transform("transform_products", torch.bmm(v, u), y, *tiles)
        ctx.save_for_backward(v, u)
        ctx.tiles = tiles
        return y.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (v, u), (n, outputs, height, width) = ctx.saved_tensors, gradient.shape
        _, count, inputs = v.shape
        planes = gradient.new_empty(36, count, outputs)
        towards = _transform("transform_gradient", _channels_last(gradient), planes, *ctx.tiles)
        to_weight = torch.bmm(v.transpose(1, 2), towards).view(36, -1)
        weight = (_KERNELS.T @ to_weight).view(3, 3, inputs, outputs).permute(3, 2, 0, 1)
        if not ctx.needs_input_grad[0]:
            return None, weight
        back = torch.bmm(towards, u.transpose(1, 2))
        x = _transform("transform_back", back, gradient.new_empty(n, height, width, inputs), *ctx.tiles)
        return x.permute(0, 3, 1, 2), weight


class WinogradConv2d(nn.Conv2d):
    """A `Conv2d` of 3 x 3, stride 1, padding 1 that takes Winograd's way where height and width are multiples of 4."""

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[-1] % 4 or input.shape[-2] % 4 or input.device.type != "cpu" or input.dtype != torch.float32:
            return super().forward(input)
        y: Tensor = _Convolution.apply(input, self.weight)
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)


def _suitable(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.kernel_size == (3, 3)
        and module.stride == module.padding == module.dilation == (1, 1)
        and module.groups == 1
        and module.padding_mode == "zeros"
        and min(module.in_channels, module.out_channels) >= _CHANNELS
        and module.in_channels % _BLOCK == module.out_channels % _BLOCK == 0
    )


def accelerate(model: nn.Module) -> nn.Module:
    """Turns the model's larger 3 x 3 convolutions into `WinogradConv2d`s, in place; its weights and names stay.

    Leaves the model as it is on a machine without a C compiler.
    """
    if _transforms() is not None:
        for module in model.modules():
            if _suitable(module):
                module.__class__ = WinogradConv2d
    return model
