"""What the library says of networks: printed as the command line prints it, and as tables in notebooks."""

from __future__ import annotations

import json
import shutil
from functools import cached_property
from typing import Any

from . import _native
from ._numbers import Logits

_NARROWEST, _WIDEST = 40, 120


class Report:
    """A report. ``str`` gives the text of the command line, ``data`` what it prints with ``--json``."""

    def __init__(self, native: _native.Report) -> None:
        self._native = native

    @cached_property
    def data(self) -> dict[str, Any]:
        """Everything in it, by name."""
        data: dict[str, Any] = json.loads(self._native.json)
        return data

    def __getitem__(self, name: str) -> Any:
        return self.data[name]

    def __str__(self) -> str:
        columns = shutil.get_terminal_size().columns
        return self._native.text(min(max(columns, _NARROWEST), _WIDEST))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self._native.html()


class Check(Report):
    """What of a network can be compiled; true when all of it can."""

    def __init__(self, ok: bool, native: _native.Report) -> None:
        super().__init__(native)
        self.ok = ok

    def __bool__(self) -> bool:
        return self.ok


class Simulation(Report):
    """Images run without cryptography: what private answers will be, beside the network in floating point."""

    private: Logits
    """Outputs in fixed point, which are those of a private run but for its roundings."""
    float: Logits
    """Outputs of the network as it was imported."""

    def __init__(self, private: Logits, floating: Logits, native: _native.Report) -> None:
        super().__init__(native)
        self.private, self.float = private, floating
