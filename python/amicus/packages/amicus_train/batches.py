"""What a run trains on, batch by batch: a labelled image set with augmentation, or any loader of a user's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from .data import Images, to_input
from .settings import Settings

Batch = tuple[Tensor, Tensor]
EVALUATED_AT_ONCE = 250
# Training images that statistics are taken from.
SAMPLE = 10_000


class Batches(Protocol):
    """Training images [images, channels, height, width] with their classes."""

    steps: int
    """Batches an epoch."""

    def epoch(self, number: int, epochs: float) -> Iterator[Batch]:
        """The batches of epoch `number` (from 0) of `epochs`."""
        ...

    def sample(self) -> Iterable[Batch]:
        """Images as in training, of the data's own size, for computing BatchNorm's statistics anew."""
        ...

    def plain(self) -> Iterable[Batch]:
        """All training images, not augmented where that can be helped."""
        ...


class LoaderBatches:
    """A PyTorch `DataLoader`, or anything else that gives (images, classes) every time it is gone through."""

    def __init__(self, loader: Iterable[Batch]) -> None:
        self.loader = loader
        self.steps = len(loader) if isinstance(loader, Sized) else sum(1 for _ in loader)
        if self.steps == 0:
            raise ValueError("the training loader gives no batch")

    def epoch(self, number: int, epochs: float) -> Iterator[Batch]:
        yield from self.loader

    def sample(self) -> Iterable[Batch]:
        return self.loader

    def plain(self) -> Iterable[Batch]:
        return self.loader


class ImageBatches:
    """A data set in memory, shuffled anew every epoch, shifted and mirrored, on smaller images first if asked for.

    Images lie on `device` and batches are made there; what is drawn is the same on every device.
    """

    def __init__(self, images: Images, rule: str, settings: Settings, device: torch.device | str = "cpu") -> None:
        if settings.limit:
            images = images.select(torch.arange(min(settings.limit, len(images))))
        self.images, self.rule, self.settings, self.device = images, rule, settings, torch.device(device)
        self.steps = len(images) // settings.batch
        if self.steps == 0:
            raise ValueError(f"{len(images)} images do not make one batch of {settings.batch}")
        self.size, self.augment = 0, Augment(images, rule, 0, False, self.device)

    def epoch(self, number: int, epochs: float) -> Iterator[Batch]:
        # A generator for each epoch: a resumed run draws the same as one that was never interrupted.
        drawn = number + self.settings.epochs_before
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + drawn)
        order = torch.randperm(len(self.images), generator=generator)
        for step in range(self.steps):
            self._resize((number + step / self.steps) / epochs)
            indices = order[step * self.settings.batch : (step + 1) * self.settings.batch]
            yield self.augment.batch(indices, drawn, generator)

    def sample(self) -> Iterable[Batch]:
        epochs = self.settings.epochs
        return islice(self.epoch(math.ceil(epochs), epochs), max(1, SAMPLE // self.settings.batch))

    def plain(self) -> Iterable[Batch]:
        return plain(self.images, self.rule)

    def _resize(self, position: float) -> None:
        own = self.images.pixels.shape[1]
        size = next((size for until, size in self.settings.sizes if position < until), own)
        if size == self.size:
            return
        shift = max(1, round(self.settings.shift * size / own)) if self.settings.shift else 0
        images = resized(self.images, size)
        self.size, self.augment = size, Augment(images, self.rule, shift, self.settings.flip, self.device)


def resized(images: Images, size: int) -> Images:
    """The images at `size` x `size` pixels."""
    if images.pixels.shape[1] == size:
        return images
    x = images.pixels.permute(0, 3, 1, 2).float()
    x = F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return Images(x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(), images.labels)


def plain(images: Images, rule: str) -> Iterable[Batch]:
    """The images in order, as they are."""
    return _Again(lambda: _parts(images, rule))


class _Again:
    """An iterable that can be gone through again and again."""

    def __init__(self, start: Callable[[], Iterator[Batch]]) -> None:
        self.start = start

    def __iter__(self) -> Iterator[Batch]:
        return self.start()


def _parts(images: Images, rule: str) -> Iterator[Batch]:
    for start in range(0, len(images), EVALUATED_AT_ONCE):
        stop = min(start + EVALUATED_AT_ONCE, len(images))
        yield to_input(images.pixels[start:stop], rule), images.labels[start:stop]


def split(images: Images, validation: int, seed: int) -> tuple[Images, Images]:
    """(training, validation): `validation` random images are held out. Raises ValueError when none would be left."""
    if validation >= len(images):
        raise ValueError(f"{validation} images held out of {len(images)}: none left to train on")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return images.select(order[validation:]), images.select(order[:validation])


class Augment:
    """Random shifts by up to `shift` pixels (mid grey or black comes in) and, where `flip`, mirror images.

    Every image is mirrored in every second epoch, starting at random: in two epochs each is seen both ways.
    """

    def __init__(
        self, images: Images, rule: str, shift: int, flip: bool, device: torch.device | str = "cpu"
    ) -> None:  # fmt: skip
        self.rule, self.shift, self.flip, self.device = rule, shift, flip, torch.device(device)
        self.height, self.width = images.pixels.shape[1:3]
        # [images, height, width, channels]: two dimensions before the last are padded.
        fill = 0 if rule == "pixel/255" else 128
        padding = (0, 0, shift, shift, shift, shift)
        self.padded = F.pad(images.pixels, padding, value=fill).to(self.device)
        self.labels = images.labels.to(self.device)
        self.mirrored = torch.randint(2, (len(images),), generator=torch.Generator().manual_seed(len(images)))

    def batch(self, indices: Tensor, epoch: int, generator: torch.Generator) -> Batch:
        """Float images [images, channels, height, width] and their classes, on the device."""
        count, spread = len(indices), 2 * self.shift + 1
        offsets = torch.randint(spread, (2, count, 1), generator=generator)
        rows = torch.arange(self.height) + offsets[0]
        columns = torch.arange(self.width).expand(count, -1)
        if self.flip:
            mirror = (self.mirrored[indices] + epoch) % 2 == 1
            columns = torch.where(mirror[:, None], self.width - 1 - columns, columns)
        columns = columns + offsets[1]
        indices, rows, columns = (part.to(self.device) for part in (indices, rows, columns))
        pixels = self.padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
        return to_input(pixels, self.rule), self.labels[indices]
