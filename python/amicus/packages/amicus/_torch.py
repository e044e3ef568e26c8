"""Modules of PyTorch as ONNX, without a file."""

from __future__ import annotations

import copy
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

NAMES: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"]}


def exported(module: Any, input_shape: tuple[int, ...]) -> bytes:
    """The bytes of an ONNX file for one image of this shape and a free number of them."""
    import torch

    module = copy.deepcopy(module).cpu().eval()
    for name, part in list(module.named_modules()):
        if name and hasattr(part, "written_out"):  # a polynomial of amicus_train
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, part.written_out())
    example = torch.zeros(2, *input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _traced(module, example)
        except Exception as traced:
            # Newer exporters take more, are slower, and need another package.
            try:
                return _captured(module, example)
            except ImportError:
                raise traced from None


def _traced(module: Any, example: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    free = {"image": {0: "batch"}, "logits": {0: "batch"}}
    torch.onnx.export(module, (example,), buffer, dynamo=False, dynamic_axes=free, **NAMES)
    return buffer.getvalue()


def _captured(module: Any, example: Any) -> bytes:
    import torch

    # It writes what it holds in memory to a file only.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        batch = ({0: torch.export.Dim("batch")},)
        torch.onnx.export(
            module, (example,), str(path), dynamo=True, external_data=False, dynamic_shapes=batch, verbose=False, **NAMES
        )
        return path.read_bytes()
