"""What goes wrong: what, where, whose it is, and what to do next."""

from __future__ import annotations


class AmicusError(Exception):
    """An error in four parts."""

    what: str
    """What went wrong."""
    where: str
    """Where: a file, a node, an argument."""
    whose: str
    """Who can put it right."""
    next: str
    """What to do."""

    def __init__(self, what: str, where: str, whose: str, next: str) -> None:
        super().__init__(what, where, whose, next)
        self.what, self.where, self.whose, self.next = what, where, whose, next

    def __str__(self) -> str:
        return f"{self.what} (at {self.where}; whose: {self.whose}); {self.next}"


class InputError(AmicusError, ValueError):
    """Numbers or a picture that the network does not take. Nothing was sent."""


class ModelError(AmicusError):
    """A network that cannot be compiled, or a file that is no compiled model."""


class ConfigurationError(AmicusError):
    """A file, a token or an argument that cannot be used. Nothing was sent."""


class ClusterError(AmicusError):
    """A cluster that gave no answer."""


class RefusedError(ClusterError):
    """A node that refuses a request; ``status`` is that of its answer."""

    status: int | None

    def __init__(self, what: str, where: str, whose: str, next: str, status: int | None = None) -> None:
        super().__init__(what, where, whose, next)
        self.status = status


class UnreachableError(ClusterError):
    """A node that cannot be reached, or is not the one that the cluster's file names."""


class CheatedError(ClusterError):
    """A party cheated: nothing was released."""

    status: int | None

    def __init__(self, what: str, where: str, whose: str, next: str, status: int | None = None) -> None:
        super().__init__(what, where, whose, next)
        self.status = status


class OutsideWarning(UserWarning):
    """Hidden values of an inference left what the plan was made for: its answer may be wrong."""
