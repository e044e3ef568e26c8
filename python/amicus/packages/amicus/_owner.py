"""Owners of models."""

from __future__ import annotations

import os
from collections.abc import Callable

from . import _native
from ._client import Token, token_of
from ._model import Model


class Owner:
    """A model owner, over HTTPS, with a token of every node."""

    def __init__(self, cluster: str | os.PathLike[str], *, token: Token) -> None:
        self._cluster, self._token = os.fspath(cluster), token_of(token)

    def upload(self, model: Model, *, progress: Callable[[int, int], object] | None = None) -> str:
        """Gives a compiled model to the parties, masked, and returns its fingerprint, which clients compare.

        ``progress`` is called with how many parts are given, and of how many. Ctrl-C gives it up.
        """
        return _native.upload(self._cluster, self._token, model._native, progress)

    def __repr__(self) -> str:
        return f"<amicus.Owner at {self._cluster!r}>"
