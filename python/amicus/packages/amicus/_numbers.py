"""Numbers of users as networks take them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._native import Plan as _Plan
from .errors import InputError

Floats: TypeAlias = NDArray[np.float32]
Logits: TypeAlias = NDArray[np.float64]

ArrayLike: TypeAlias = Any
"""What :func:`numpy.asarray` takes, tensors of PyTorch included."""

Image: TypeAlias = "ArrayLike | str | os.PathLike[str]"
"""Numbers as the network takes them, or the path of a picture."""


def _refused(what: str, next: str, where: str) -> InputError:
    return InputError(what, where, "yours", next)


def numbers(x: ArrayLike, where: str = "the image") -> Floats:
    """An array of float32 with the same values, or a clear word why there is none."""
    if hasattr(x, "detach"):  # a tensor of PyTorch, wherever it lies
        x = x.detach().cpu().numpy()
    array = np.asarray(x)
    if array.dtype.kind not in "fiu":
        raise _refused(
            f"numbers of type {array.dtype}",
            "give real numbers as the network takes them, float32 for example",
            where,
        )
    if array.dtype.kind in "iu" and array.dtype.itemsize == 1:
        raise _refused(
            f"pixels of type {array.dtype}",
            "scale them as in training, x / 255.0 for example, or give the path of a picture",
            where,
        )
    if not np.isfinite(array).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise _refused(f"element {at} is {array[at]}", "give numbers that are finite", where)
    with np.errstate(over="ignore"):  # what float32 does not hold is refused with its range
        return np.require(array, np.float32, ["C", "A"])


def images(x: Image, plan: _Plan, where: str = "the image") -> tuple[Floats, int | None]:
    """Numbers of one image, or of several one behind the other with their count, in the shape of a plan."""
    if isinstance(x, (str, os.PathLike)):
        return plan.picture(os.fspath(x)), None
    array = numbers(x, where)
    shape = tuple(plan.input_shape)
    if array.shape == shape:
        return array.reshape(-1), None
    if array.shape[1:] == shape and array.ndim == len(shape) + 1 and len(array) > 0:
        return array.reshape(-1), len(array)
    raise _refused(
        f"shape {array.shape}, the network takes {shape}",
        f"give an array of shape {shape}, or several images stacked: {('n', *shape)}",
        where,
    )


def samples(x: ArrayLike, shape: Sequence[int] | None, where: str) -> tuple[Floats, int]:
    """Numbers of several images, one behind the other, and their count."""
    array = numbers(x, where)
    if shape is not None and array.shape == tuple(shape):
        array = array[np.newaxis]
    if array.ndim < 2 or array.size == 0:
        raise _refused(f"shape {array.shape}", "give images stacked: [images, ...]", where)
    each = int(array.size // len(array))
    if shape is not None and each != math.prod(shape):
        raise _refused(f"shape {array.shape}, the network takes {tuple(shape)}", "give images of that shape", where)
    return array.reshape(-1), len(array)


def classes(y: ArrayLike | None, count: int) -> list[int] | None:
    """A class of every image."""
    if y is None:
        return None
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    array = np.asarray(y)
    if array.shape != (count,) or array.dtype.kind not in "iu" or (array.size > 0 and array.min() < 0):
        raise _refused(
            f"labels of type {array.dtype} and shape {array.shape}",
            f"give one class an image: {count} whole numbers from 0",
            "the labels",
        )
    return [int(label) for label in array]
