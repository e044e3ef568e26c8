"""Training of convolutional networks with polynomial activations, for private inference with Amicus."""

from .activation import PolyActivation
from .convert import polynomialize
from .export import load, save, to_onnx
from .fit import least_squares
from .networks import build
from .norm import RangeBatchNorm, RangeBatchNorm1d, RangeBatchNorm2d
from .settings import Settings
from .training import distill, train

__all__ = [
    "PolyActivation", "RangeBatchNorm", "RangeBatchNorm1d", "RangeBatchNorm2d", "Settings", "build", "distill",
    "least_squares", "load", "polynomialize", "save", "to_onnx", "train",
]  # fmt: skip
