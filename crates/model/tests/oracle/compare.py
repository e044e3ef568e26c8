"""Holds the results of random networks to ONNX Runtime.

    AMICUS_GRAPHS=1000 AMICUS_GRAPHS_DIR=FOLDER cargo test --release -p amicus-testkit --test graphs
    python compare.py FOLDER

Needs numpy and onnxruntime. Every network was kept with its inputs (float32) and the float executor's results (float64).
"""

import pathlib
import sys

import numpy as np
import onnxruntime

LIMIT = 1e-4


def difference(path):
    """Largest difference of a network's results, relative to the largest number of each."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    shape = session.get_inputs()[0].shape
    inputs = np.fromfile(path.with_suffix(".x"), np.float32).reshape(-1, *shape)
    results = np.fromfile(path.with_suffix(".y"), np.float64).reshape(len(inputs), -1)
    worst = 0.0
    for x, got in zip(inputs, results):
        expected = session.run(None, {"x": x})[0].reshape(-1).astype(np.float64)
        size = max(np.abs(expected).max(), np.finfo(np.float32).tiny)
        worst = max(worst, np.abs(got - expected).max() / size)
    return worst


if __name__ == "__main__":
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    found, refused = [], []
    for path in files:
        try:
            found.append((difference(path), path.name))
        except Exception as error:  # ONNX Runtime has no common class of errors
            refused.append((path.name, str(error)[:200]))
    found.sort()
    print(f"{len(found)} networks, largest difference {found[-1][0]:.1e} ({found[-1][1]})")
    # Its shape inference of old operator sets counts pooling windows behind the image, which its pooling leaves out.
    print(f"{len(refused)} networks that ONNX Runtime does not run")
    for name, error in refused:
        print(f"  {name}: {error}")
    for error, name in found:
        if not error < LIMIT:
            print(f"  {name}: {error:.1e}")
    sys.exit(not found[-1][0] < LIMIT)
