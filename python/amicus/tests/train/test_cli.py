"""The command line, on a data set of a few images."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from amicus_train import cli
from amicus_train.ablation import VARIANTS
from tests.test_data import as_folders


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["amicus-train", *map(str, words)])
    cli.main()


def test_teacher_then_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    as_folders(tmp_path)
    common = ["--dataset", "cifar10", "--data-dir", tmp_path, "--epochs", 1, "--batch", 8, "--validation", 4]
    teacher, student = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
    run(monkeypatch, "train", "--model", "resnet8", "--out", teacher, "--weights-type", "f16", *common)
    run(monkeypatch, "distill", "--teacher", teacher, "--out", student, "--degree", 4, *common)
    with safe_open(student, "pt") as file:
        metadata = file.metadata()
    assert len(json.loads(metadata["activation.coefficients"])) == 5
    assert len(json.loads(metadata["activation.ranges"])) == 7
    assert str(tmp_path) not in metadata["command"]
    assert metadata["command"].startswith("amicus-train distill --teacher teacher.safetensors")
    assert json.loads(metadata["settings"])["epochs"] == 1
    assert (tmp_path / "student.safetensors.csv").read_text().startswith("epoch,loss")
    capsys.readouterr()
    run(monkeypatch, "evaluate", "--weights", student, "--dataset", "cifar10", "--data-dir", tmp_path)
    printed = capsys.readouterr().out
    assert f"test {metadata['accuracy.test']}" in printed
    assert "s3.act2" in printed


def test_a_student_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_folders(tmp_path)
    common = ["--dataset", "cifar10", "--data-dir", tmp_path, "--epochs", 1, "--batch", 8, "--validation", 4]
    teacher, first, second = (tmp_path / f"{name}.safetensors" for name in ("teacher", "first", "second"))
    run(monkeypatch, "train", "--model", "resnet8", "--out", teacher, *common)
    run(monkeypatch, "distill", "--teacher", teacher, "--out", first, "--degree", 2, *common)
    further = ["distill", "--teacher", teacher, "--student", first, "--out", second, *common]
    with pytest.raises(SystemExit, match="go on with --blend 0"):
        run(monkeypatch, *further)
    with pytest.raises(SystemExit, match="teacher.safetensors is no polynomial resnet8"):
        run(monkeypatch, *[teacher if word is first else word for word in further], "--blend", 0)
    # Steps too small to be seen, rare values left alone: what comes out is what went in, within the interval.
    run(monkeypatch, *further, "--blend", 0, "--rate", 1e-12, "--matrix-rate", 0, "--reach", 0)
    with safe_open(first, "pt") as a, safe_open(second, "pt") as b:
        assert a.metadata()["activation.coefficients"] == b.metadata()["activation.coefficients"]
        for name in a.keys():
            if "running" not in name:
                assert (a.get_tensor(name) - b.get_tensor(name)).abs().max() < 1e-5, name


def test_the_mean_of_a_student_with_itself_is_that_student(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_folders(tmp_path)
    common = ["--dataset", "cifar10", "--data-dir", tmp_path, "--batch", 8, "--validation", 4, "--epochs", 1]
    teacher, student, average = (tmp_path / f"{name}.safetensors" for name in ("teacher", "student", "mean"))
    run(monkeypatch, "train", "--model", "resnet8", "--out", teacher, *common)
    run(monkeypatch, "distill", "--teacher", teacher, "--out", student, *common)
    run(monkeypatch, "mean", "--weights", student, f"{student}:2", "--out", average, *common)
    with safe_open(student, "pt") as a, safe_open(average, "pt") as b:
        assert b.metadata()["command"].startswith("amicus-train mean --weights student.safetensors student.safetensors:2 --out")
        assert a.metadata()["accuracy.test"] == b.metadata()["accuracy.test"]
        assert len(json.loads(b.metadata()["activation.ranges"])) == 7
        for name in a.keys():
            assert (a.get_tensor(name) - b.get_tensor(name)).abs().max() < 1e-5, name
    with pytest.raises(SystemExit, match="same polynomials"):
        run(monkeypatch, "mean", "--weights", student, teacher, "--out", average, *common)


def test_a_relu_network_starts_from_a_student_and_keeps_its_pools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_folders(tmp_path)
    common = ["--dataset", "cifar10", "--data-dir", tmp_path, "--epochs", 1, "--batch", 8, "--validation", 4]
    pooled, student, relu = (tmp_path / f"{name}.safetensors" for name in ("pooled", "student", "relu"))
    run(monkeypatch, "train", "--model", "alexnet-cifar", "--pool", "max", "--out", pooled, *common)
    run(monkeypatch, "distill", "--teacher", pooled, "--out", student, "--degree", 2, *common)
    start = ["train", "--start", student, "--out", relu, *common]
    # Steps too small to be seen: what comes out is what went in, with ReLU.
    still = ["--rate", 1e-12, "--matrix-rate", 0]
    run(monkeypatch, *start, "--model", "alexnet-cifar", "--pool", "max", *still)
    with safe_open(student, "pt") as a, safe_open(relu, "pt") as b:
        assert [file.metadata()["pool"] for file in (a, b)] == ["max", "max"]
        assert b.metadata()["activation"] == "relu"
        for name in a.keys():
            if "running" not in name:
                assert (a.get_tensor(name) - b.get_tensor(name)).abs().max() < 1e-5, name
    for other in (["alexnet-cifar"], ["resnet8"]):
        with pytest.raises(SystemExit, match="student.safetensors is of another kind"):
            run(monkeypatch, *start, "--model", *other)
    with pytest.raises(SystemExit, match="resnet8 with pools of kind max"):
        run(monkeypatch, "train", "--model", "resnet8", "--pool", "max", "--out", relu, *common)


def test_mistakes_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ["--dataset", "cifar10", "--data-dir", tmp_path / "none", "--out", tmp_path / "x.safetensors"]
    with pytest.raises(SystemExit, match="amicus-train: data folder .*none does not exist"):
        run(monkeypatch, "train", "--model", "resnet8", *missing)
    as_folders(tmp_path)
    there = ["--dataset", "cifar10", "--data-dir", tmp_path, "--out", tmp_path / "x.safetensors"]
    with pytest.raises(SystemExit, match="nothing to resume from"):
        run(monkeypatch, "train", "--model", "resnet8", "--batch", 8, "--validation", 4, "--resume", *there)
    with pytest.raises(SystemExit, match="epochs -1"):
        run(monkeypatch, "train", "--model", "resnet8", "--epochs", -1, *there)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="--device cuda: PyTorch sees no such GPU"):
            run(monkeypatch, "train", "--model", "resnet8", "--device", "cuda", *there)


@pytest.mark.parametrize("command", ["train", "distill", "mean", "ablate", "evaluate"])
def test_help(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run(monkeypatch, command, "--help")
    assert left.value.code == 0
    assert "--data-dir" in capsys.readouterr().out


def test_rows_of_the_ablation_are_chosen_by_number() -> None:
    words = ["ablate", "--dataset", "cifar10", "--data-dir", "DIR", "--teacher", "t.safetensors"]
    parse = cli._parser().parse_args
    assert parse(words).only == VARIANTS
    assert parse([*words, "--only", "1,3"]).only == (VARIANTS[0], VARIANTS[2])
    for wrong in ("0", "99", "two"):
        with pytest.raises(SystemExit):
            parse([*words, "--only", wrong])
