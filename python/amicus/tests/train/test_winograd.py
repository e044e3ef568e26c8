"""Winograd's convolutions against the definition."""

import copy

import pytest
import torch
from torch import nn

from amicus_train.networks import AlexNetCifar
from amicus_train.winograd import WinogradConv2d, accelerate


@pytest.mark.parametrize("shape", [(1, 48, 4, 4), (3, 56, 8, 12), (2, 64, 16, 16)])
@pytest.mark.parametrize("bias", [False, True])
def test_results_and_gradients(shape: tuple[int, int, int, int], bias: bool) -> None:
    torch.manual_seed(1)
    direct = nn.Conv2d(shape[1], 56, 3, padding=1, bias=bias)
    fast = accelerate(copy.deepcopy(direct))
    assert isinstance(fast, WinogradConv2d)
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(shape[0], 56, *shape[2:])
    results = []
    for conv in (direct, fast):
        y = conv(x)
        results.append([y, *torch.autograd.grad(y, (x, *conv.parameters()), gradient)])
    for expected, found in zip(*results, strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 3e-5 * expected.abs().max()


def test_sizes_without_whole_tiles_take_the_direct_way() -> None:
    direct = nn.Conv2d(48, 48, 3, padding=1)
    x = torch.randn(2, 48, 6, 8)
    assert torch.equal(accelerate(copy.deepcopy(direct))(x), direct(x))


def test_only_what_gains_is_replaced() -> None:
    model = AlexNetCifar()
    names = list(model.state_dict())
    accelerate(model)
    fast = [name for name, module in model.named_modules() if isinstance(module, WinogradConv2d)]
    assert fast == ["conv2", "conv3", "conv4", "conv5"]
    assert list(model.state_dict()) == names
    for other in (nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3, 2, 1), nn.Conv2d(64, 64, 5, padding=2),
                  nn.Conv2d(64, 64, 3, padding=1, groups=64)):  # fmt: skip
        assert type(accelerate(other)) is nn.Conv2d
