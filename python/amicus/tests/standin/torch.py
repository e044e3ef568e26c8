"""What the ten lines of the README use of PyTorch, where there is none: it takes gigabytes.

Layers hold random weights, and are exported as ONNX as PyTorch exports them. Everything else, from the module to the
private answer, is the package's own.
"""

from types import SimpleNamespace

import numpy as np

_random = np.random.default_rng(1)


def rand(*shape):
    return _random.random(shape, np.float32)


def zeros(*shape):
    return np.zeros(shape, np.float32)


def _number(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def _field(at, value):
    """A field of a protocol buffer: a number, or bytes."""
    if isinstance(value, int):
        return _number(at << 3) + _number(value)
    value = value.encode() if isinstance(value, str) else value
    return _number(at << 3 | 2) + _number(len(value)) + value


def _tensor(name, array):
    dims = b"".join(_field(1, n) for n in array.shape)
    return dims + _field(2, 1) + _field(8, name) + _field(9, array.astype("<f4").tobytes())


def _value(name, *shape):
    dims = b"".join(_field(1, _field(2, n) if isinstance(n, str) else _field(1, n)) for n in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


class Module:
    weights = ()
    kind = ""
    numbers = {}

    def cpu(self):
        return self

    eval = cpu

    def named_modules(self):
        return [("", self)]


class _Weighted(Module):
    def __init__(self, *shape):
        bound = np.prod(shape[1:]) ** -0.5
        self.weights = (bound * (2 * rand(*shape) - 1), bound * (2 * rand(shape[0]) - 1))


class Conv2d(_Weighted):
    kind = "Conv"

    def __init__(self, inputs, outputs, taps, stride=1):
        super().__init__(outputs, inputs, taps, taps)
        self.numbers = {"kernel_shape": [taps, taps], "strides": [stride, stride]}


class Linear(_Weighted):
    kind, numbers = "Gemm", {"transB": 1}

    def __init__(self, inputs, outputs):
        super().__init__(outputs, inputs)


class ReLU(Module):
    kind = "Relu"


class Flatten(Module):
    kind = "Flatten"


class Sequential(Module):
    def __init__(self, *layers):
        self.layers = layers


def _attribute(name, value):
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, n) for n in value) + _field(20, 7)


def _export(module, arguments, file, *, dynamo, input_names, output_names, dynamic_axes):
    (example,), (last,) = arguments, input_names
    free = {name: axes[0] for name, axes in dynamic_axes.items()}
    graph = _field(11, _value(last, free[last], *example.shape[1:])) + _field(2, "graph")
    for at, layer in enumerate(module.layers):
        inputs = [last] + [f"{at}.{part}" for part, _ in zip(("weight", "bias"), layer.weights)]
        (name,) = output_names
        last = name if layer is module.layers[-1] else f"{at}.output"
        node = b"".join(_field(1, i) for i in inputs) + _field(2, last) + _field(4, layer.kind)
        node += b"".join(_field(5, _attribute(*number)) for number in layer.numbers.items())
        graph += _field(1, node) + b"".join(_field(5, _tensor(*t)) for t in zip(inputs[1:], layer.weights))
    graph += _field(12, _value(last, free[last], len(module.layers[-1].weights[1])))
    file.write(_field(1, 8) + _field(8, _field(1, "") + _field(2, 13)) + _field(7, graph))


nn = SimpleNamespace(**{t.__name__: t for t in (Module, Sequential, Conv2d, ReLU, Flatten, Linear)})
onnx = SimpleNamespace(export=_export)
