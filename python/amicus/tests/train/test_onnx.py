"""Exported files compute what the network computes."""

from pathlib import Path

import pytest
import torch

from amicus_train import polynomialize, to_onnx
from amicus_train.networks import NETWORKS, Network

from .test_networks import images, shaken

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("legacy", [True, False])
def test_exported_students_give_the_same_logits(name: str, legacy: bool, tmp_path: Path) -> None:
    same_logits(polynomialize(shaken(name)).eval(), legacy, tmp_path)


@pytest.mark.parametrize("legacy", [True, False])
def test_exported_relu_networks_keep_relu_and_max_pools(legacy: bool, tmp_path: Path) -> None:
    import onnx

    same_logits(shaken("lenet5", pool="max"), legacy, tmp_path)
    operators = [node.op_type for node in onnx.load(tmp_path / "student.onnx").graph.node]
    assert operators.count("Relu") == 4 and operators.count("MaxPool") == 2


def same_logits(student: Network, legacy: bool, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    path = tmp_path / "student.onnx"
    to_onnx(student, path, student.input_shape, legacy=legacy)
    assert list(tmp_path.iterdir()) == [path]
    # Another number of images than the exporter saw.
    x = images(student, 1)
    (got,) = ReferenceEvaluator(str(path)).run(None, {"image": x.numpy()})
    with torch.no_grad():
        expected = student(x)
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
