"""Labelled images as uint8 tensors: MNIST (IDX files) and CIFAR-10 (binary batches, class folders, or a tar of such)."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_SUFFIXES = (".jpg", ".jpeg", ".png")


class DataError(Exception):
    """A data set that is missing or not what its format says; the message names the file."""


@dataclass(frozen=True)
class Images:
    """`pixels` is uint8 [images, height, width, channels], `labels` is int64 [images]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "Images":
        return Images(self.pixels[indices], self.labels[indices])


def load(dataset: str, folder: str | Path, split: str) -> Images:
    """The images of `split` ("train" or "test"). Raises DataError."""
    folder = Path(folder)
    if not folder.exists():
        raise DataError(f"data folder {folder} does not exist")
    if split not in ("train", "test"):
        raise DataError(f"unknown split {split!r}, known: train, test")
    if dataset == "mnist":
        return _mnist(folder, split)
    if dataset == "cifar10":
        return _cifar10(folder, split)
    raise DataError(f"unknown data set {dataset!r}, known: mnist, cifar10")


def to_input(pixels: Tensor, rule: str) -> Tensor:
    """Float images [images, channels, height, width] of uint8 ones [images, height, width, channels]."""
    x = pixels.permute(0, 3, 1, 2).float()
    if rule == "pixel/255":
        return x / 255.0
    if rule == "pixel/127.5-1":
        return x / 127.5 - 1.0
    raise ValueError(f"unknown input rule {rule!r}")


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: {error}") from error


def _idx(folder: Path, name: str, dimensions: int) -> np.ndarray:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            break
    else:
        raise DataError(f"data folder {folder} has no file {name} (nor {name}.gz)")
    data = _read(path)
    if data[:4] != bytes([0, 0, 8, dimensions]):
        raise DataError(f"{path}: not an IDX file of bytes with {dimensions} dimensions")
    shape = np.frombuffer(data, ">u4", dimensions, 4)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    if values.size != shape.prod():
        raise DataError(f"{path}: {values.size} values, the header says {'x'.join(map(str, shape))}")
    return values.reshape(shape)


def _mnist(folder: Path, split: str) -> Images:
    prefixes = ("train",) if split == "train" else ("test", "t10k")
    for prefix in prefixes:
        if list(folder.glob(f"{prefix}-images-idx3-ubyte*")):
            break
    pixels, labels = _idx(folder, f"{prefix}-images-idx3-ubyte", 3), _idx(folder, f"{prefix}-labels-idx1-ubyte", 1)
    return _images(pixels[..., None], labels, str(folder))


def digits(folder: Path) -> Images:
    """The labelled digits that ship with Amicus: `digits-images.idx3-ubyte` and `digits-labels.idx1-ubyte`."""
    pixels, labels = _idx(folder, "digits-images.idx3-ubyte", 3), _idx(folder, "digits-labels.idx1-ubyte", 1)
    return _images(pixels[..., None], labels, str(folder))


def _images(pixels: np.ndarray, labels: np.ndarray, where: str) -> Images:
    if len(pixels) != len(labels) or len(labels) == 0:
        raise DataError(f"{where}: {len(pixels)} images and {len(labels)} labels")
    if labels.max() > 9:
        raise DataError(f"{where}: class {labels.max()}, expected 0 to 9")
    return Images(torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64)))


def _cifar10(folder: Path, split: str) -> Images:
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    for place in (folder, folder / "cifar-10-batches-bin"):
        if (place / names[0]).exists():
            return _binary([place / name for name in names])
    archives = sorted(p for p in folder.glob("*.tar*")) if folder.is_dir() else [folder]
    if (folder / split).is_dir():
        return _decode(_folder(folder / split), str(folder / split))
    if archives:
        return _decode(_archive(archives[0], split), f"{archives[0]}:{split}")
    raise DataError(f"{folder} has neither {names[0]}, nor a folder {split}/CLASS/, nor a .tar of such folders")


def _binary(paths: list[Path]) -> Images:
    records = []
    for path in paths:
        data = np.frombuffer(_read(path), np.uint8)
        if data.size == 0 or data.size % 3073:
            raise DataError(f"{path}: {data.size} bytes are no whole number of records of 3073")
        records.append(data.reshape(-1, 3073))
    data = np.concatenate(records)
    return _images(data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), data[:, 0], str(paths[0].parent))


def _folder(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    for path in sorted(folder.glob("*/*")):
        if path.suffix.lower() in _SUFFIXES:
            yield path.parent.name, str(path), _read(path)


def _archive(path: Path, split: str) -> Iterator[tuple[str, str, bytes]]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                parts = Path(member.name).parts
                if member.isfile() and len(parts) >= 3 and parts[-3] == split and parts[-1].lower().endswith(_SUFFIXES):
                    content = tar.extractfile(member)
                    if content is not None:
                        yield parts[-2], f"{path}:{member.name}", content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"{path}: {error}") from error


def _decode(files: Iterator[tuple[str, str, bytes]], where: str) -> Images:
    found: list[tuple[str, str, np.ndarray]] = []
    for name, path, data in files:
        try:
            pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (UnidentifiedImageError, OSError) as error:
            raise DataError(f"{path}: not a readable image ({error})") from error
        if pixels.shape != (32, 32, 3):
            raise DataError(f"{path}: {pixels.shape[1]} x {pixels.shape[0]} pixels, expected 32 x 32")
        found.append((name, path, pixels))
    found.sort(key=lambda item: item[:2])
    classes = sorted({name for name, _, _ in found})
    if len(classes) != 10:
        raise DataError(f"{where}: {len(classes)} class folders with images, expected 10")
    labels = np.array([classes.index(name) for name, _, _ in found])
    return _images(np.stack([pixels for _, _, pixels in found]), labels, where)
