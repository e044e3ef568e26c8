"""Networks, compiled."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import _native
from ._numbers import ArrayLike, Image, classes, images, samples
from ._report import Check, Report, Simulation
from .errors import ModelError

Network: TypeAlias = "str | os.PathLike[str] | bytes | Any"
"""The path of an ONNX file, its bytes, or a ``torch.nn.Module``."""


def _source(network: Network, input_shape: tuple[int, ...] | None) -> str | tuple[str, bytes]:
    if isinstance(network, (str, os.PathLike)):
        return os.fspath(network)
    if isinstance(network, (bytes, bytearray, memoryview)):
        return "the ONNX bytes", bytes(network)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(network, torch.nn.Module):
        from ._torch import exported

        if input_shape is None:
            raise ModelError(
                "the shape of an image is not known", "the module", "yours", "give input_shape=(channels, height, width)"
            )
        return type(network).__name__, exported(network, input_shape)
    raise ModelError(
        f"{type(network).__name__} is no network",
        "the network",
        "yours",
        "give the path of an ONNX file, its bytes, or a torch.nn.Module",
    )


def check(
    network: Network, *, input_shape: tuple[int, ...] | None = None, output_name: str | None = None
) -> Check:
    """Lists every node of a network that cannot be compiled, with why and what to do.

    ``input_shape``, of one image, is needed for modules and for files that leave it open.
    """
    shape = None if input_shape is None else list(input_shape)
    return Check(*_native.check(_source(network, input_shape), shape, output_name))


def compile(
    network: Network,
    calibration: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    input_shape: tuple[int, ...] | None = None,
    output_name: str | None = None,
    activations: Literal["exact", "polynomial"] = "exact",
    maxpool: Literal["average", "refuse"] | None = None,
    degree: int | None = None,
    net: str = "lan",
    batch: int = 1,
    max_error: float = 0.005,
    max_total_error: float | None = None,
    allow_miss: bool = False,
    limbs: int | None = None,
    exact_truncation: bool = False,
    tails: bool = False,
    watch: bool = True,
    reveal: Literal["logits", "top5", "label"] | None = None,
    logit_bits: int | None = None,
    public_model: bool = False,
) -> Model:
    """Turns a network into a plan with integer weights.

    ``calibration`` are typical images, stacked, as the network takes them: they tell how large numbers get.
    ``labels`` are their classes, if accuracy is to be measured. Unless ``watch`` is off, whoever gets an answer is
    told when hidden values left what the plan was made for. ``net`` and ``batch`` are the network and the images in one
    inference that the plan is made for. With ``reveal="label"`` or ``"top5"`` they get labels in
    place of outputs. With ``public_model`` the plan holds the weights, where all roles see them, and layers of weights
    take no message; images and answers stay secret. The rest is as in ``amicus compile``.
    """
    shape = None if input_shape is None else list(input_shape)
    torch = sys.modules.get("torch")
    if input_shape is None and torch is not None and isinstance(network, torch.nn.Module):
        input_shape = tuple(np.shape(calibration)[1:])
    x, count = samples(calibration, None, "the calibration images")
    how: dict[str, Any] = {
        "input_shape": shape,
        "output": output_name,
        "activations": activations,
        "maxpool": maxpool,
        "degree": degree,
        "net": net,
        "batch": batch,
        "max_error": max_error,
        "max_total_error": max_total_error,
        "allow_miss": allow_miss,
        "limbs": limbs,
        "exact_truncation": exact_truncation,
        "tails": tails,
        "watch": watch,
        "reveal": reveal,
        "logit_bits": logit_bits,
        "public_model": public_model,
    }
    native, report = _native.compile(_source(network, input_shape), x, count, classes(labels, count), how)
    return Model(native, Report(report))


class Model:
    """A compiled model. It holds the weights: it is its owner's secret."""

    def __init__(self, native: _native.Model, report: Report | None = None) -> None:
        self._native = native
        self.report = report
        """How it was compiled; none of a model that was loaded."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Reads a compiled file."""
        return cls(_native.Model.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Writes a compiled file that you alone can read. One that is there is kept unless ``force``."""
        self._native.save(os.fspath(path), force)

    def public_plan(self) -> PublicPlan:
        """The public part: what parties, helper and clients run from."""
        return PublicPlan(self._native.plan(), self._native.shows())

    @property
    def name(self) -> str:
        """Its name."""
        return self._native.plan().name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self._native.plan().input_shape)

    @property
    def input_range(self) -> tuple[float, float]:
        """The numbers that an image may have."""
        return self._native.plan().input_range

    @property
    def missed_targets(self) -> list[str]:
        """Targets for its error that it misses on its calibration images."""
        return self._native.missed_targets

    def estimate(self, parties: int = 2, *, batch: int = 1, net: str = "local") -> Report:
        """Rounds, bytes, memory and time of an inference, before anything runs.

        ``net`` is the network between the roles: local, lan, wan, or a delay and a rate as rtt=40ms,bw=100mbit.
        """
        return Report(self._native.estimate(parties, batch, net))

    def simulate(self, x: ArrayLike, labels: ArrayLike | None = None) -> Simulation:
        """Runs images without cryptography, in fixed point and in floating point, layer by layer."""
        images, count = samples(x, self.input_shape, "the images")
        private, floating, report = self._native.simulate(images, count, classes(labels, count))
        return Simulation(private.reshape(count, -1), floating.reshape(count, -1), report)

    def __repr__(self) -> str:
        return f"<amicus.Model {self.name}, images of shape {self.input_shape}>"


class PublicPlan:
    """The public part of a compiled model."""

    def __init__(self, native: _native.Plan, shows: list[str] | None = None) -> None:
        self._native = native
        self.shows = [] if shows is None else shows
        """What everybody learns who sees it."""

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PublicPlan:
        """Reads a file of a plan."""
        return cls(_native.Plan.load(os.fspath(path)))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Writes it to a file. One that is there is kept unless ``force``."""
        self._native.save(os.fspath(path), force)
        return Path(path)

    def __bytes__(self) -> bytes:
        return self._native.to_bytes()

    def masked(self, x: Image) -> NDArray[np.float64]:
        """What a node sees of an image: behind a mask, drawn anew with every call, as numbers from 0 to 1."""
        numbers, _ = images(x, self._native)
        return self._native.masked(numbers).reshape(-1, *self.input_shape).squeeze(0)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._native.name

    @property
    def digest(self) -> str:
        """Its digest, by which all roles know it."""
        return self._native.digest

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one image."""
        return tuple(self._native.input_shape)

    @property
    def input_range(self) -> tuple[float, float]:
        """The numbers that an image may have."""
        return self._native.input_range

    @property
    def outputs(self) -> int:
        """How many numbers an answer has."""
        return self._native.outputs

    @property
    def labels(self) -> int | None:
        """How many labels of the largest outputs an answer has, if it has labels only."""
        return self._native.labels

    @property
    def reveals(self) -> str:
        """What an answer tells whoever asks, and nobody else."""
        match self.labels:
            case None:
                told = f"the network's {self.outputs} outputs"
            case 1:
                told = "only the label of the largest output, no numbers"
            case several:
                told = f"only the labels of the {several} largest outputs, no numbers"
        if self.watches:
            return f"{told}; and whether hidden values left what the plan was made for, so that it may be wrong"
        return f"{told}; nothing of hidden values that left what the plan was made for"

    @property
    def watches(self) -> bool:
        """Whether it looks for hidden values outside what it was made for: then there are warnings."""
        return self._native.watches

    def __repr__(self) -> str:
        return f"<amicus.PublicPlan {self.name}, {self.digest}>"
