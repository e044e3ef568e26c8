"""Gives the light models of the `onnx` wheel, whose weights are all the same number, random ones.

    python randomise.py SITE-PACKAGES/onnx/backend/test/data/light FOLDER
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper


def randomise(model):
    """ConstantOfShape weights become initializers: convolutions and products by fan-in, BatchNorm around 1 and 0."""
    rng = np.random.default_rng(1)
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    role = {name: (node.op_type, i) for node in graph.node for i, name in enumerate(node.input)}
    for node in [n for n in graph.node if n.op_type == "ConstantOfShape"]:
        name, shape = node.output[0], tuple(int(d) for d in shapes[node.input[0]])
        op, index = role[name]
        if op == "BatchNormalization":
            low, high = [(0.5, 1.0), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5)][index - 1]
            values = rng.uniform(low, high, shape)
        elif index == 1:
            values = rng.uniform(-1, 1, shape) * np.sqrt(6 / np.prod(shape[1:]))
        else:
            values = rng.uniform(-0.1, 0.1, shape)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
    kept = [i for i in graph.input if i.name in used and i.name not in shapes]
    del graph.input[:]
    graph.input.extend(kept)
    return model


if __name__ == "__main__":
    source, target = map(pathlib.Path, sys.argv[1:])
    for path in sorted(source.glob("*.onnx")):
        onnx.save(randomise(onnx.load(path)), target / path.name)
        print(path.name)
