"""A cluster of real processes for all tests, and a small network."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amicus

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "docs/tutorial"
PATIENCE = 600
"""Seconds until anything is given up. Nothing is measured: a loaded machine is only slower."""


def program() -> str:
    """The command line, built before: by its path in AMICUS, or where the project builds it."""
    path = Path(os.environ.get("AMICUS", ROOT / "target/release/amicus"))
    if not path.is_file():
        pytest.skip(f"{path} is not built: cargo build --release, or set AMICUS")
    return str(path.resolve())


def stand_still(pid: int) -> None:
    """Stops all threads of a process: a signal that was sent has not yet reached them."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while any(") T " not in stat.read_text() for stat in Path(f"/proc/{pid}/task").glob("*/stat")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@dataclass(frozen=True)
class Digits:
    x: NDArray[np.float32]
    y: NDArray[np.int64]


@pytest.fixture(scope="session")
def digits() -> Digits:
    data = np.load(DATA / "digits.npz")
    return Digits(data["x"].astype(np.float32), data["y"].astype(np.int64))


@pytest.fixture(scope="session")
def model(digits: Digits) -> amicus.Model:
    return amicus.compile(DATA / "tiny.onnx", digits.x[:100], digits.y[:100])


class Cluster:
    """`amicus up` with the small network."""

    def __init__(self, folder: Path, model: amicus.Model, *more: str) -> None:
        model.save(folder / "tiny.amc")
        self.folder = folder / "cluster"
        self.process = subprocess.Popen(
            [program(), "up", str(folder / "tiny.amc"), *more, "--folder", str(self.folder), "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = self.process.stdout.readline()
            assert line, f"amicus up ended: {text}"
            text += line
        self.ready: dict[str, Any] = json.loads(text)

    @property
    def file(self) -> Path:
        return Path(self.ready["cluster"])

    @property
    def token(self) -> Path:
        return Path(self.ready["clients"][0]["tokens"])

    @property
    def owner_token(self) -> Path:
        return Path(self.ready["owner_tokens"])

    def tokens(self) -> dict[str, str]:
        return dict(re.findall(r'^([\w-]+) = "(\w+)"$', self.token.read_text(), re.MULTILINE))

    def connect(self, **more: Any) -> amicus.Client:
        return amicus.connect(self.file, token=self.token, model="tiny", **more)

    def inferences(self) -> int:
        """Inferences that the helper began, and that have ended in whatever way."""
        with urllib.request.urlopen(f"http://{self.ready['nodes'][0]['monitor']}/metrics", timeout=PATIENCE) as answer:
            text = answer.read().decode()
        flying = re.findall(r"^amicus_inferences_in_flight (\S+)$", text, re.MULTILINE)
        ended = re.findall(r"^amicus_inferences_total\{.*\} (\S+)$", text, re.MULTILINE)
        assert len(flying) == 1, text
        return int(sum(map(float, flying + ended)))

    def pid(self, node: str) -> int:
        return next(int(n["pid"]) for n in self.ready["nodes"] if n["name"] == node)

    def end(self) -> None:
        for node in self.ready["nodes"]:
            os.kill(node["pid"], signal.SIGCONT)
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(PATIENCE) == 0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, model: amicus.Model) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("up"), model)
    yield started
    started.end()
