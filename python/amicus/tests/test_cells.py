"""The example for several cells, over two small ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import amicus

from conftest import PATIENCE, Cluster, Digits

pytest.importorskip("distributed")

EXAMPLE = Path(__file__).parent.parent / "examples/cells.py"


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, model: amicus.Model) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("second"), model)
    yield started
    started.end()


def classified(cells: list[dict[str, str]], x: np.ndarray, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "cells.json").write_text(json.dumps(cells))
    np.savez(folder / "images.npz", x=x)
    names = ["cells.json", "images.npz", "answers.npz"]
    command = [sys.executable, str(EXAMPLE), *names]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def cell(cluster: Cluster) -> dict[str, str]:
    fingerprint = cluster.ready["models"][0]["fingerprint"]
    return {"cluster": str(cluster.file), "token": str(cluster.token), "model": "tiny", "fingerprint": fingerprint}


def test_images_are_spread_over_two_cells(
    cluster: Cluster, second: Cluster, model: amicus.Model, digits: Digits, tmp_path: Path
) -> None:
    x = digits.x[:100]
    expected = model.simulate(x).private.argmax(1)
    before = [c.inferences() for c in (cluster, second)]
    done = classified([cell(cluster), cell(second)], x, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (np.load(tmp_path / "answers.npz")["logits"].argmax(1) == expected).all()
    after = [c.inferences() for c in (cluster, second)]
    assert all(a > b for a, b in zip(after, before, strict=True)), (before, after)
    # A cell that is not there: the other one answers all.
    nowhere = {**cell(second), "cluster": str(tmp_path / "nowhere.toml")}
    text = second.file.read_text()
    for node in second.ready["nodes"]:
        text = text.replace(node["public"].removeprefix("https://"), "127.0.0.1:1")
    (tmp_path / "nowhere.toml").write_text(text)
    done = classified([nowhere, cell(cluster)], x[:64], tmp_path)
    assert done.returncode == 0, done.stderr
    assert (np.load(tmp_path / "answers.npz")["logits"].argmax(1) == expected[:64]).all()
    done = classified([nowhere], x[:8], tmp_path)
    assert done.returncode != 0 and "no cell is there" in done.stderr
