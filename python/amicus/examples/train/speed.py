"""Images a second in training AlexNet for 32 x 32 pixels on a CPU: PyTorch's own convolutions, and Winograd's.

    python examples/train/speed.py    (with amicus-train installed)

Forward and backward passes of the ReLU network, without an optimiser; the best of five steps, one variant after the other,
first with memory as the C library handles it, then with freed memory kept.
"""

from __future__ import annotations

import copy
import time

import torch
from torch import nn
from torch.nn import functional as F

from amicus_train import accelerate, build, keep_freed

STEPS = 5


def rate(model: nn.Module, batch: int) -> float:
    """Images a second."""
    x = torch.rand(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch,))
    model.train()
    times = []
    for _ in range(1 + STEPS):
        start = time.perf_counter()
        model.zero_grad()
        F.cross_entropy(model(x), labels).backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - start)
    return batch / min(times[1:])


def main() -> None:
    torch.manual_seed(1)
    direct = build("alexnet-cifar").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    winograd = accelerate(copy.deepcopy(direct))
    for memory in ("returned", "kept"):
        if memory == "kept":
            keep_freed()
        for batch in (128, 256):
            print(
                f"freed memory {memory}, batch {batch}: "
                f"direct {rate(direct, batch):.0f}, Winograd {rate(winograd, batch):.0f} images/s"
            )


if __name__ == "__main__":
    main()
