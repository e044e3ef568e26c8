"""Everything a training run depends on besides the data's bytes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Settings:
    """Settings of one run. Parts of the co-optimisation are switched off by the values named beside them."""

    epochs: float = 12.0
    seed: int = 1
    batch: int = 256
    validation: int = 2500
    limit: int = 0  # training images used, 0: all
    # Optimiser: one cycle each, up during `warm_up` of the steps.
    matrix_rate: float = 0.08  # radians a step; 0: AdamW for all
    rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: float = 0.2
    clip: float = 2.0
    label_smoothing: float = 0.0
    # Images: [[until this share of the steps, pixels], ..]; empty: always the data's own size.
    sizes: tuple[tuple[float, int], ...] = ()
    shift: int = 4
    flip: bool = True
    epochs_before: int = 0  # that the network had in earlier runs: this one draws other orders and shifts
    # Co-optimisation, for students only.
    warm_start: bool = True
    blend: float = 0.3  # share of the steps in which ReLU becomes the polynomial; 0: polynomial at once
    distillation: float = 0.9  # weight of the teacher's answers beside the labels; 0: off
    temperature: float = 3.0
    features: float = 0.5  # weight of feature matching; 0: off
    penalty: float = 1.0  # of values beyond `margin` of the interval, summed over activations; 0: off
    margin: float = 0.8
    projection: bool = True
    replay: float = 1.0  # last epochs in which images that go beyond `reach` times the interval join every step
    reach: float = 1.2  # 0: off
    # Fixed-point-aware last epochs: 0 epochs: off.
    fixed_epochs: float = 0.0
    argument_bits: int = 11
    weight_bits: int = 14

    def validate(self) -> None:
        """Raises ValueError, naming the setting."""
        positive = ("epochs", "rate", "clip", "temperature", "batch", "validation")
        shares = ("warm_up", "blend", "distillation", "label_smoothing")
        for name in positive:
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} {getattr(self, name)}, must be above 0 and finite")
        for name in shares:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}, must be between 0 and 1")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and not 0 <= value < float("inf"):
                raise ValueError(f"{field.name} {value}, must be 0 or more and finite")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    def differs_from(self, other: str) -> str | None:
        """The first setting in which a stored JSON form differs, as a sentence."""
        stored, mine = json.loads(other), json.loads(self.to_json())
        for name in sorted(stored.keys() | mine.keys()):
            if stored.get(name) != mine.get(name):
                return f"{name} is {mine.get(name)}, the checkpoint has {stored.get(name)}"
        return None
