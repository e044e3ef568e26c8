"""Networks whose answers are no single class, from PyTorch to ONNX (see ../tutorial-outputs.md).

    python outputs.py FOLDER

FOLDER holds the MNIST training set, as for train.py. Writes, for digits that are turned, turned.onnx (two outputs: the
digit and its angle), turned.npz and turned.json; for digits that are crossed out, crossed.onnx (a class for every
pixel), crossed.npz and crossed.json. The .json files hold what is true of the images in the .npz files.
"""

import json
import math
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from train import ASSETS, HERE, read, tensors

STEPS, BATCH, HELD = 900, 128, 100
LARGEST = 45


def turn(images, generator):
    """Turns every image by an angle of its own; the angles in degrees, positive ones anticlockwise."""
    angles = (torch.rand(len(images), generator=generator) * 2 - 1) * LARGEST
    radians = angles * math.pi / 180
    cos, sin, none = radians.cos(), radians.sin(), torch.zeros(len(images))
    maps = torch.stack([cos, -sin, none, sin, cos, none], 1).view(-1, 2, 3)
    grid = F.affine_grid(maps, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False), angles


def cross(images, generator):
    """Crosses every image out by a line of its own; pixels are paper (0), digit (1) or line (2)."""
    size = images.shape[-1]
    ends = torch.rand(len(images), 4, generator=generator) * 8
    flip = torch.rand(len(images), generator=generator) < 0.5
    x0, y0, x1, y1 = ends[:, 0] + 1, ends[:, 1] + 1, size - 2 - ends[:, 2], size - 2 - ends[:, 3]
    y0, y1 = torch.where(flip, y1, y0), torch.where(flip, y0, y1)
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    start, way = torch.stack([x0, y0], 1), torch.stack([x1 - x0, y1 - y0], 1)
    pixel = torch.stack([x, y], -1).view(1, -1, 2) - start[:, None]
    along = ((pixel * way[:, None]).sum(-1) / (way**2).sum(1, keepdim=True)).clamp(0, 1)
    far = (pixel - along[..., None] * way[:, None]).norm(dim=-1)
    line = (1.5 - far).clamp(0, 1).view_as(images)
    pixels = torch.where(line > 0.5, 2, torch.where(images > 0.3, 1, 0))
    return torch.maximum(images, line), pixels[:, 0]


class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding=2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(144, 32), nn.ReLU(),
        )  # fmt: skip
        self.digit, self.angle = nn.Linear(32, 10), nn.Linear(32, 1)

    def forward(self, x):
        x = self.body(x)
        return self.digit(x), LARGEST * self.angle(x)


class Crossed(nn.Module):
    """A small U-Net."""

    def __init__(self):
        super().__init__()
        layer = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())
        self.fine, self.middle, self.coarse = layer(1, 8), layer(8, 12), layer(12, 12)
        self.back, self.last, self.out = layer(24, 8), layer(16, 8), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        larger = nn.Upsample(scale_factor=2, mode="nearest")
        fine = self.fine(x)
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        back = self.back(torch.cat([larger(coarse), middle], 1))
        return self.out(self.last(torch.cat([larger(back), fine], 1)))


def turned_loss(out, digits, angles):
    digit, angle = out
    return F.cross_entropy(digit, digits) + 4 * F.smooth_l1_loss(angle[:, 0] / LARGEST, angles / LARGEST, beta=0.1)


def train(model, images, labels, change, loss):
    """`change` makes images and what is true of them, anew in every step."""
    generator = torch.Generator().manual_seed(2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS)
    for step in range(STEPS):
        pick = torch.randint(len(images), (BATCH,), generator=generator)
        x, truth = change(images[pick], generator)
        value = loss(model(x), labels[pick], truth)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            print(step, value.item())
    model.eval()


def save(model, x, truth, name, outputs):
    # Multiples of 1/255, as of an image file.
    x = (x * 255).round() / 255
    torch.onnx.export(
        model, (x[:1],), HERE / f"{name}.onnx", dynamo=True, external_data=False, output_names=outputs,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    np.savez_compressed(HERE / f"{name}.npz", x=x.numpy())
    (HERE / f"{name}.json").write_text(json.dumps(truth, indent=0) + "\n")


def main(folder):
    torch.set_num_threads(1)
    kept, held = read(folder, "train-images-idx3-ubyte"), read(ASSETS, "digits-images.idx3-ubyte")
    tried = {image.tobytes() for image in held}
    others = np.array([image.tobytes() not in tried for image in kept])
    images, labels = tensors(kept[others], read(folder, "train-labels-idx1-ubyte")[others])
    held, digits = tensors(held, read(ASSETS, "digits-labels.idx1-ubyte"))
    generator = torch.Generator().manual_seed(3)
    pick = torch.randperm(len(held), generator=generator)[:HELD]
    held, digits = held[pick], digits[pick]

    torch.manual_seed(1)
    model = Turned()
    train(model, images, labels, turn, turned_loss)
    x, angles = turn(held, generator)
    truth = {"digit": digits.tolist(), "angle": [round(a, 2) for a in angles.tolist()]}
    save(model, x, truth, "turned", ["digit", "angle"])

    torch.manual_seed(1)
    model = Crossed()
    train(model, images, labels, cross, lambda out, _, pixels: F.cross_entropy(out, pixels))
    x, pixels = cross(held, generator)
    truth = {"pixels": ["".join(map(str, image.flatten().tolist())) for image in pixels]}
    save(model, x, truth, "crossed", ["pixels"])


if __name__ == "__main__":
    main(sys.argv[1])
