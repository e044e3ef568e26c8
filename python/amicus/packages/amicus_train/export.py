"""Files that Amicus reads: safetensors with metadata, and ONNX."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .activation import PolyActivation
from .convert import replace
from .networks import EPS, Network, build
from .structure import activations


def rounded(state: dict[str, Tensor], weights: str) -> dict[str, Tensor]:
    """The state with matrices and kernels in `weights` (f32, f16 or bf16); vectors stay f32."""
    kinds = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
    if weights not in kinds:
        raise ValueError(f"unknown type {weights!r}, known: {', '.join(kinds)}")
    return {k: v.to(kinds[weights] if v.dim() > 1 else torch.float32).contiguous() for k, v in state.items()}


def _tensors(model: Network) -> dict[str, Tensor]:
    state = model.state_dict()
    return {k: v.detach() for k, v in state.items() if not k.endswith(("num_batches_tracked", "coefficients"))}


def save(model: Network, path: str | Path, dataset: str, notes: dict[str, str], weights: str = "f32") -> None:
    """Writes weights and metadata in one step: never a half-written file at `path`.

    Raises ValueError when a weight is not finite, or when activations have different intervals.
    """
    tensors = rounded(_tensors(model), weights)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"tensor {name} contains a value that is not finite")
    entries = {
        "format.version": "1",
        "architecture": model.architecture,
        "dataset": dataset,
        "input": model.input_rule,
        "bn.eps": repr(EPS),
    }
    width = getattr(model, "width", None)
    if width is not None:
        entries["width"] = str(width)
    if model.pool_kind != "average":
        entries["pool"] = model.pool_kind
    polynomials = [m for m in activations(model).values() if isinstance(m, PolyActivation)]
    if polynomials:
        intervals = {p.interval for p in polynomials}
        if len(intervals) != 1:
            raise ValueError(f"activations with different intervals: {sorted(intervals)}")
        lists = [p.coefficients.detach().tolist() for p in polynomials]
        shared = all(one == lists[0] for one in lists)
        entries["activation"] = "polynomial"
        entries["activation.interval"] = repr(intervals.pop())
        entries["activation.coefficients"] = json.dumps(lists[0] if shared else lists)
    else:
        entries["activation"] = "relu"
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    save_file(tensors, temporary, metadata={**notes, **entries})
    os.replace(temporary, path)


def load(path: str | Path) -> tuple[Network, dict[str, str]]:
    """The network of a file, in `eval` mode, with its metadata. Raises ValueError for files of another kind."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    if "architecture" not in metadata:
        raise ValueError(f"{path}: no metadata entry `architecture`")
    width = metadata.get("width")
    model = build(metadata["architecture"], int(width) if width else None, metadata.get("pool"))
    if metadata.get("activation", "polynomial") != "relu":
        interval = float(metadata["activation.interval"])
        lists = json.loads(metadata["activation.coefficients"])
        names = list(activations(model))
        if not isinstance(lists[0], list):
            lists = [lists] * len(names)
        for name, coefficients in zip(names, lists, strict=True):
            replace(model, name, PolyActivation(interval, coefficients))
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith(("num_batches_tracked", "coefficients"))]
    if missing or unexpected:
        raise ValueError(f"{path}: missing {missing}, unexpected {unexpected}")
    return model.eval(), metadata


def to_onnx(model: nn.Module, path: str | Path, input_shape: tuple[int, ...], *, legacy: bool = False) -> None:
    """Writes the model for one image of `input_shape` ([channels, height, width]) with a free batch dimension."""
    model = copy.deepcopy(model).eval()
    for name, module in list(model.named_modules()):
        if isinstance(module, PolyActivation):
            replace(model, name, module.written_out())
    example = torch.zeros(2, *input_shape)
    if legacy:
        torch.onnx.export(
            model, (example,), str(path), dynamo=False, input_names=["image"], output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        )  # fmt: skip
        return
    torch.onnx.export(
        model, (example,), str(path), dynamo=True, external_data=False, input_names=["image"],
        output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
