"""A small network, with ReLU and with parabolas, from PyTorch to ONNX (see ../tutorial-onnx.md).

    python train.py FOLDER

FOLDER holds the MNIST training set in its usual two files. The 300 digits of crates/cli/assets, which it is tried on,
are left out of the training. Writes tiny.onnx, parabolas.onnx and digits.npz here.
"""

import gzip
import pathlib
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
ASSETS = HERE / "../../crates/cli/assets"


class Square(nn.Module):
    """A parabola that looks like ReLU between -2 and 2: only sums and products, so nothing has to be approximated."""

    def forward(self, x):
        return 0.2 * x**2 + 0.5 * x + 0.2


class Tiny(nn.Sequential):
    def __init__(self, activation, pool):
        super().__init__(
            nn.Conv2d(1, 8, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(8), activation(), pool(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), activation(), pool(2),
            nn.Flatten(), nn.Linear(144, 10),
        )  # fmt: skip


def parabolas():
    """The same for activations that fit only a range: factors of 0.5 keep what they are fed between -2 and 2."""
    model = Tiny(Square, nn.AvgPool2d)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, 0.5)
    return model


def read(folder, name):
    """An IDX file, gzipped or not."""
    path = pathlib.Path(folder) / name
    data = path.read_bytes() if path.exists() else gzip.decompress(path.with_name(name + ".gz").read_bytes())
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(data[3])]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def tensors(images, labels):
    return torch.from_numpy(images.copy()).unsqueeze(1) / 255, torch.from_numpy(labels.astype(np.int64))


def main(folder):
    torch.set_num_threads(1)
    kept, held = read(folder, "train-images-idx3-ubyte"), read(ASSETS, "digits-images.idx3-ubyte")
    tried = {image.tobytes() for image in held}
    others = np.array([image.tobytes() not in tried for image in kept])
    images, labels = tensors(kept[others], read(folder, "train-labels-idx1-ubyte")[others])
    held = tensors(held, read(ASSETS, "digits-labels.idx1-ubyte"))
    for make, name in ((lambda: Tiny(nn.ReLU, nn.MaxPool2d), "tiny.onnx"), (parabolas, "parabolas.onnx")):
        torch.manual_seed(1)
        model = make()
        train(model, images, labels)
        export(model, *held, HERE / name)
    # Images as the model takes them, and their classes: what scales are chosen with, and what is tried afterwards.
    np.savez_compressed(HERE / "digits.npz", x=held[0].numpy(), y=held[1].numpy())


def train(model, images, labels):
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    steps = 3 * len(images) // 256
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 8e-3, total_steps=steps)
    for step in range(steps):
        pick = torch.randint(len(images), (256,))
        loss = F.cross_entropy(model(images[pick]), labels[pick])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(step, loss.item())


def export(model, images, labels, path):
    model.eval()
    with torch.no_grad():
        print("correct:", (model(images).argmax(1) == labels).float().mean().item())
    torch.onnx.export(
        model, (images[:1],), path, dynamo=True, external_data=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
