"""A whole cluster on this machine, to try a model."""

from __future__ import annotations

from types import TracebackType

from . import _native
from ._model import Model
from ._numbers import Image, images
from ._predict import Asking


def local(model: Model, parties: int = 2, threads: int = 1) -> Local:
    """Starts a helper and parties as threads of this process, and gives them the model, masked.

    They share nothing but mutually authenticated TLS links over loopback, and all of them on one machine protect
    nobody: it is for trying. Use it in a ``with`` statement, which ends them.

    Each has two threads, and each of these has ``threads`` for its arithmetic.
    """
    return Local(_native.Local.start(model._native, parties, threads))


class Local(Asking):
    """A cluster on this machine, with a model loaded."""

    def __init__(self, native: _native.Local) -> None:
        self._native = native
        self._plan = native.plan()

    def _submit(self, x: Image, gate: _native.Gate | None = None) -> tuple[_native.Pending, int | None]:
        numbers, count = images(x, self._plan)
        return self._native.submit(numbers, 1 if count is None else count), count

    @property
    def parties(self) -> int:
        """The number of compute parties."""
        return self._native.parties

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the model as it is loaded."""
        return self._native.fingerprint

    def close(self) -> None:
        """Ends helper and parties."""
        self._native.close()

    def __enter__(self) -> Local:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<amicus.Local, {self.parties} parties and a helper>"
