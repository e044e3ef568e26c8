"""Clients of clusters that others run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType
from typing import TypeAlias

from . import _native
from ._model import PublicPlan
from ._numbers import Image, images
from ._predict import Asking
from .errors import ConfigurationError

Token: TypeAlias = "str | os.PathLike[str] | Mapping[str, str]"
"""The path of a file of tokens, or a token for every node by its name: helper, party-1, and so on."""


def token_of(token: Token) -> str | dict[str, str]:
    """A token as the native part takes it."""
    if isinstance(token, Mapping):
        return dict(token)
    path = os.fspath(token)
    # What is no file may be a token itself, which no message repeats.
    if not os.path.exists(path):
        raise ConfigurationError(
            "there is no such file of tokens", "token", "yours", "give the path of a file of tokens, or a dict by node"
        )
    return path


def connect(
    cluster: str | os.PathLike[str],
    *,
    token: Token,
    model: str | None = None,
    fingerprint: str | None = None,
    plan: str | os.PathLike[str] | None = None,
) -> Client:
    """Connects to the nodes that a cluster's file names, over HTTPS, with a token for each.

    ``model`` is needed where the cluster serves several. ``fingerprint``, as the model's owner told it, makes sure
    that the parties hold that model; without one, whichever all of them name is taken. ``plan`` is the model's
    public part; the parties are asked for it unless it is given.
    """
    return Client(
        _native.Client.connect(
            os.fspath(cluster), token_of(token), model, None if plan is None else os.fspath(plan), fingerprint
        )
    )


class Client(Asking):
    """A client. It talks to every node itself, and no node sees what another is sent."""

    def __init__(self, native: _native.Client) -> None:
        self._native = native
        self._plan = native.plan()

    def _submit(self, x: Image, gate: _native.Gate | None = None) -> tuple[_native.Pending, int | None]:
        numbers, count = images(x, self._plan)
        return self._native.submit(numbers, 1 if count is None else count, gate), count

    @property
    def model(self) -> str:
        """The model's name in the cluster."""
        return self._native.model

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint, as all parties named it."""
        return self._native.fingerprint

    @property
    def plan(self) -> PublicPlan:
        """The model's public part."""
        return PublicPlan(self._plan)

    def compare(self, fingerprint: str | None = None) -> str:
        """Compares the model again, after its owner loaded it anew: until then no image leaves this client."""
        return self._native.compare(fingerprint)

    def close(self) -> None:
        """Ends the client."""
        self._native.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<amicus.Client of {self.model} at {self._native.cluster!r}>"
