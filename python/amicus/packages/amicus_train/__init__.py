"""Training of convolutional networks with polynomial activations, for private inference with Amicus."""

import os

# OpenMP's threads that wait in a loop would take the cores from the threads of `winograd`. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from .activation import PolyActivation
from .convert import polynomialize
from .export import load, save, to_onnx
from .fit import least_squares
from .mean import mean
from .memory import keep_freed
from .networks import build
from .norm import RangeBatchNorm, RangeBatchNorm1d, RangeBatchNorm2d
from .settings import Settings
from .training import distill, train
from .winograd import accelerate

__all__ = [
    "PolyActivation", "RangeBatchNorm", "RangeBatchNorm1d", "RangeBatchNorm2d", "Settings", "accelerate", "build",
    "distill", "keep_freed", "least_squares", "load", "mean", "polynomialize", "save", "to_onnx", "train",
]  # fmt: skip
