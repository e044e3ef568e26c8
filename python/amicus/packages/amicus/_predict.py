"""Asking, whoever answers: one image, several, one after the other, or awaited."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeAlias

from . import _native
from ._numbers import Image, Logits
from .errors import OutsideWarning

Progress: TypeAlias = "bool | Callable[[int, int | None], object]"
"""Whether to show how far it is, or a function of how many are done and of how many, if that is known."""

_AHEAD = 2
"""Images that are kept ready for each inference in flight, so that none waits for its image."""


class Asking:
    """What clients of all kinds can do."""

    def _submit(self, x: Image, gate: _native.Gate | None = None) -> tuple[_native.Pending, int | None]:
        raise NotImplementedError

    def predict(self, x: Image) -> Logits:
        """Has one image classified, or several stacked ones in one inference: the network's outputs.

        ``x`` are numbers as the network takes them, or the path of a picture. Numbers that it does not take are
        refused before anything is sent. Where the plan reveals labels only, they are the answer. An answer that may
        be wrong, because hidden values left what the plan was made for, comes with an :class:`OutsideWarning`.
        """
        pending, count = self._submit(x)
        return _told(_finished(pending), count)

    async def apredict(self, x: Image) -> Logits:
        """:meth:`predict` for asyncio: any number of them can be awaited at a time."""
        pending, count = self._submit(x)
        loop = asyncio.get_running_loop()
        there: asyncio.Future[None] = loop.create_future()

        def settle() -> None:
            if not there.done():
                there.set_result(None)

        def tell() -> None:
            # The loop may be closed by now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle)

        pending.notify(tell)
        try:
            await there
        finally:
            if not there.done() or there.cancelled():
                pending.cancel()
        return _told(pending.result(), count)

    def predict_many(
        self, x: Iterable[Image], *, concurrency: int = 8, progress: Progress = False
    ) -> Iterator[Logits]:
        """Has many images classified, so many at a time, each in an inference of its own.

        Answers come in the order of the images, which are taken from the iterable as they are needed. What has
        begun is given up when the iterator is closed.
        """
        gate = _native.Gate(concurrency)
        total = len(x) if isinstance(x, Sized) else None
        shown = _Shown(progress, total)
        begun: collections.deque[tuple[_native.Pending, int | None]] = collections.deque()
        source = iter(x)
        try:
            while True:
                while len(begun) < max(1, concurrency) * _AHEAD:
                    try:
                        image = next(source)
                    except StopIteration:
                        break
                    begun.append(self._submit(image, gate))
                if not begun:
                    return
                pending, count = begun[0]
                answer = _told(_finished(pending), count)
                begun.popleft()
                shown.one_more()
                yield answer
        finally:
            for pending, _ in begun:
                pending.cancel()
            shown.end()


def _finished(pending: _native.Pending) -> tuple[Logits, list[bool | None]]:
    try:
        return pending.result()
    except BaseException:
        pending.cancel()
        raise


def _told(answer: tuple[Logits, list[bool | None]], count: int | None) -> Logits:
    """The outputs, with a warning where hidden values were outside."""
    outputs, outside = answer
    if any(outside):
        of = "" if count is None else f" of image {', '.join(str(at) for at, told in enumerate(outside) if told)}"
        what = f"hidden values{of} left what the plan was made for: the answer may be wrong"
        warnings.warn(what, OutsideWarning, stacklevel=3)
    return outputs if count is None else outputs.reshape(count, -1)


class _Shown:
    """How far it is: on standard error, or told to a function."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._start = self._last = time.monotonic()

    def one_more(self) -> None:
        self._done += 1
        if callable(self._progress):
            self._progress(self._done, self._total)
        elif self._progress and time.monotonic() - self._last > 0.1:
            self._last = time.monotonic()
            self._write("\r")

    def end(self) -> None:
        if self._progress and not callable(self._progress):
            self._write("\r")
            sys.stderr.write("\n")

    def _write(self, before: str) -> None:
        seconds = max(time.monotonic() - self._start, 1e-9)
        of = "" if self._total is None else f"/{self._total}"
        bar = ""
        if self._total:
            full = 30 * self._done // self._total
            bar = f"|{'█' * full}{' ' * (30 - full)}| "
        sys.stderr.write(f"{before}{bar}{self._done}{of} [{seconds:.1f} s, {self._done / seconds:.1f}/s]")
        sys.stderr.flush()

