"""Private CNN inference with a friend: nobody but the client sees image or answer.

From a network to private predictions on this machine::

    model = amicus.compile(network, calibration)
    with amicus.local(model, parties=3) as cluster:
        logits = cluster.predict(x)

and on machines that others run::

    with amicus.connect("cluster.toml", token="alice.tokens") as client:
        logits = client.predict(x)

Arrays are NumPy's. What goes wrong is an exception of :mod:`amicus.errors`, which says what, where, whose it is
and what to do next.
"""

from ._client import Client, connect
from ._local import Local, local
from ._model import Model, PublicPlan, check, compile
from ._native import __version__
from ._owner import Owner
from ._report import Check, Report, Simulation
from .errors import (
    AmicusError,
    CheatedError,
    ClusterError,
    ConfigurationError,
    InputError,
    ModelError,
    OutsideWarning,
    RefusedError,
    UnreachableError,
)

__all__ = [
    "AmicusError", "CheatedError", "Check", "Client", "ClusterError", "ConfigurationError", "InputError", "Local",
    "Model", "ModelError", "OutsideWarning", "Owner", "PublicPlan", "RefusedError", "Report", "Simulation",
    "UnreachableError", "__version__", "check", "compile", "connect", "local",
]  # fmt: skip
