"""Reading data sets: all forms give the same images, and what is wrong is named."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from amicus_train.batches import Augment
from amicus_train.data import CIFAR10_CLASSES, DataError, Images, load, to_input


def colours(split: str) -> list[tuple[str, str, np.ndarray]]:
    generator = np.random.default_rng(1 if split == "train" else 2)
    names = [(c, f"{i}.png") for c in CIFAR10_CLASSES for i in range(2)]
    return [(c, n, generator.integers(256, size=(32, 32, 3), dtype=np.uint8)) for c, n in names]


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def as_folders(root: Path) -> None:
    for split in ("train", "test"):
        for name, file, pixels in colours(split):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            (root / split / name / file).write_bytes(png(pixels))


def as_tar(root: Path) -> None:
    with tarfile.open(root / "set.tar.gz", "w:gz") as tar:
        for split in ("train", "test"):
            for name, file, pixels in colours(split):
                data = png(pixels)
                info = tarfile.TarInfo(f"{split}/{name}/{file}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def as_binary(root: Path) -> None:
    for split, files in (("train", [f"data_batch_{i}.bin" for i in range(1, 6)]), ("test", ["test_batch.bin"])):
        records = [
            bytes([CIFAR10_CLASSES.index(name)]) + pixels.transpose(2, 0, 1).tobytes() for name, _, pixels in colours(split)
        ]
        share = len(records) // len(files)
        for i, file in enumerate(files):
            (root / file).write_bytes(b"".join(records[i * share : (i + 1) * share]))


@pytest.mark.parametrize("form", [as_folders, as_tar, as_binary])
@pytest.mark.parametrize("split", ["train", "test"])
def test_all_forms_of_cifar10_give_the_same(form, split: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    form(tmp_path)
    images = load("cifar10", tmp_path, split)
    expected = colours(split)
    assert images.labels.tolist() == [CIFAR10_CLASSES.index(name) for name, _, _ in expected]
    np.testing.assert_array_equal(images.pixels.numpy(), np.stack([pixels for _, _, pixels in expected]))


def write_mnist(root: Path, zipped: bool) -> None:
    pixels = np.arange(3 * 28 * 28, dtype=np.uint32).astype(np.uint8)
    pack = gzip.compress if zipped else bytes
    end = ".gz" if zipped else ""
    (root / f"t10k-images-idx3-ubyte{end}").write_bytes(pack(struct.pack(">IIII", 2051, 3, 28, 28) + pixels.tobytes()))
    (root / f"t10k-labels-idx1-ubyte{end}").write_bytes(pack(struct.pack(">II", 2049, 3) + bytes([7, 0, 9])))


@pytest.mark.parametrize("zipped", [False, True])
def test_mnist(zipped: bool, tmp_path: Path) -> None:
    write_mnist(tmp_path, zipped)
    images = load("mnist", tmp_path, "test")
    assert images.labels.tolist() == [7, 0, 9]
    assert images.pixels.shape == (3, 28, 28, 1)
    assert int(images.pixels[1, 0, 5, 0]) == (784 + 5) % 256


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        load("cifar10", tmp_path / "nowhere", "test")
    with pytest.raises(DataError, match="neither"):
        load("cifar10", tmp_path, "test")
    with pytest.raises(DataError, match="idx3"):
        load("mnist", tmp_path, "test")
    as_folders(tmp_path)
    bad = tmp_path / "test" / "cat" / "0.png"
    good = bad.read_bytes()
    bad.write_bytes(good[:100])
    with pytest.raises(DataError, match=r"cat/0.png: not a readable image"):
        load("cifar10", tmp_path, "test")
    bad.write_bytes(png(np.zeros((8, 9, 3), np.uint8)))
    with pytest.raises(DataError, match=r"cat/0.png: 9 x 8 pixels, expected 32 x 32"):
        load("cifar10", tmp_path, "test")
    bad.write_bytes(good)
    (tmp_path / "test" / "zebra").mkdir()
    (tmp_path / "test" / "zebra" / "0.png").write_bytes(good)
    with pytest.raises(DataError, match="11 class folders"):
        load("cifar10", tmp_path, "test")


def test_binary_files_of_the_wrong_length(tmp_path: Path) -> None:
    as_binary(tmp_path)
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="data_batch_1.bin.*records of 3073"):
        load("cifar10", tmp_path, "train")
    path.write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(DataError, match="class 10"):
        load("cifar10", tmp_path, "train")


def test_cut_off_mnist(tmp_path: Path) -> None:
    write_mnist(tmp_path, False)
    path = tmp_path / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match="the header says 3x28x28"):
        load("mnist", tmp_path, "test")


def test_input_rules() -> None:
    pixels = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
    assert to_input(pixels, "pixel/255").flatten().tolist() == [0.0, 1.0]
    assert to_input(pixels, "pixel/127.5-1").flatten().tolist() == [-1.0, 1.0]
    with pytest.raises(ValueError, match="pixel/7"):
        to_input(pixels, "pixel/7")


def test_augmentation_shifts_and_mirrors_every_second_epoch() -> None:
    pixels = torch.arange(2 * 5 * 5, dtype=torch.uint8).view(2, 5, 5, 1)
    images = Images(pixels, torch.tensor([3, 4]))
    generator = torch.Generator().manual_seed(1)
    still = Augment(images, "pixel/255", 0, True)
    seen = []
    for epoch in range(2):
        x, labels = still.batch(torch.tensor([0, 1]), epoch, generator)
        assert labels.tolist() == [3, 4]
        seen.append((x * 255).round().to(torch.uint8).permute(0, 2, 3, 1))
    for i in range(2):
        one = [torch.equal(s[i], pixels[i]) for s in seen]
        assert sorted(one) == [False, True]
        assert torch.equal(seen[one.index(False)][i], pixels[i].flip(1))
    moved = Augment(images, "pixel/255", 2, False)
    x, _ = moved.batch(torch.tensor([1] * 200), 0, generator)
    distinct = {bytes((row * 255).round().to(torch.uint8).numpy().tobytes()) for row in x}
    assert len(distinct) == 25
