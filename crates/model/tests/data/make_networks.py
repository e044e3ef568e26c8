"""Makes networks.json: what PyTorch gives for the known networks with repeatable weights and images.

    python make_networks.py ../../../../python/amicus/packages      # needs torch; takes seconds

Weights are not stored: tests/networks.rs makes the same ones with the generator below, in the order of `tensors`, and
writes them as the safetensors file that `metadata` belongs to.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
from amicus_train.activation import PolyActivation  # noqa: E402
from amicus_train.convert import replace  # noqa: E402
from amicus_train.networks import AlexNetCifar, LeNet5, ResNet8  # noqa: E402
from amicus_train.structure import activations  # noqa: E402

COEFFICIENTS = [0.124, 2.0, 6.006, 0.0, -10.794, 0.0, 7.152]
IMAGES = 2
STEP = np.uint64(0x9E3779B97F4A7C15)


def words(seed: int, count: int) -> np.ndarray:
    """`count` numbers of SplitMix64."""
    x = np.uint64(seed) + STEP * np.arange(1, count + 1, dtype=np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def tensor(seed: int, name: str, shape: list[int]) -> np.ndarray:
    unit = (words(seed, int(np.prod(shape))) >> np.uint64(11)).astype(np.float64) / 2.0**53
    last = name.rsplit(".", 1)[1]
    if last == "running_var":
        middle, width = 1.0, 0.2
    elif last == "weight" and len(shape) == 1:
        middle, width = 0.9, 0.1
    elif last == "weight":
        middle, width = 0.0, np.sqrt(5.0 / np.prod(shape[1:]))
    else:
        middle, width = 0.0, 0.1
    return (middle + width * (2.0 * unit - 1.0)).astype(np.float32).reshape(shape)


@torch.no_grad()
def case(name: str, model, lists: list[list[float]] | None, **metadata: str) -> dict:
    names = list(activations(model))
    entries = {
        "architecture": model.architecture,
        "dataset": "none",
        "input": model.input_rule,
        "bn.eps": "1e-05",
        **metadata,
    }
    if lists is None:
        entries["activation"] = "relu"
    else:
        for i, activation in enumerate(names):
            replace(model, activation, PolyActivation(4.0, lists[i % len(lists)]))
        entries["activation.interval"] = "4.0"
        entries["activation.coefficients"] = json.dumps(lists[0] if len(lists) == 1 else lists)
    shapes = [
        (key, list(value.shape))
        for key, value in model.state_dict().items()
        if not key.endswith(("num_batches_tracked", "coefficients"))
    ]
    state = {key: torch.from_numpy(tensor(i, key, shape)) for i, (key, shape) in enumerate(shapes)}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(k.endswith(("num_batches_tracked", "coefficients")) for k in missing), missing
    channels, height, width = model.input_shape
    count = IMAGES * height * width * channels
    pixels = (words(1000, count) % np.uint64(256)).astype(np.float32).reshape(IMAGES, height, width, channels)
    x = pixels / 255 if model.input_rule == "pixel/255" else pixels / 127.5 - 1
    logits = model.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    return {"name": name, "metadata": entries, "tensors": shapes, "logits": logits.double().tolist()}


def per_layer(count: int) -> list[list[float]]:
    return [[c * (1 + k / 50) for c in COEFFICIENTS] for k in range(count)]


cases = [
    case("lenet5", LeNet5(), [COEFFICIENTS]),
    case("lenet5 teacher", LeNet5(), None),
    case("alexnet-cifar, own polynomials", AlexNetCifar(), per_layer(7)),
    case("alexnet-cifar teacher", AlexNetCifar(), None),
    case("resnet8 of width 4", ResNet8(4), [COEFFICIENTS], width="4"),
    case("resnet8 of width 6, own polynomials", ResNet8(6), per_layer(7), width="6"),
    case("resnet8 teacher", ResNet8(), None),
    case("lenet5 with max pools", LeNet5("max"), None, pool="max"),
    case("alexnet-cifar with max pools", AlexNetCifar("max"), None, pool="max"),
]
text = ",\n".join(json.dumps(one) for one in cases)
Path(__file__).with_name("networks.json").write_text(f"[\n{text}\n]\n", encoding="utf-8")
