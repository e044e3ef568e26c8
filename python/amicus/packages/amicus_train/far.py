"""Images that drive a network far out of its interval, to be shown again and again.

Five standard deviations fit the interval, and training pulls back what leaves it. Still one image in ten thousand can
have a value at twice the interval: there a polynomial of degree 6 is 40 times what ReLU is, the next layer is driven out
as well, and two layers on numbers are of no use, nor is the room that a planner would reserve for them. Seen once an
epoch, such an image moves nothing; seen in every step, it does.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .batches import Batch
from .structure import activations

# Images kept at most.
KEPT = 1024


class Far:
    """The images found, with their classes."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def and_those_of(self, other: Far) -> Far:
        """These and the other's, each once."""
        pairs = [*zip(self.images, self.labels), *zip(other.images, other.labels)]
        distinct = {image.numpy().tobytes(): (image, label) for image, label in pairs}
        if not distinct:
            return self
        images, labels = zip(*distinct.values())
        return Far(torch.stack(images)[:KEPT], torch.stack(labels)[:KEPT])

    def chosen(self, count: int, step: int) -> Batch:
        """Up to `count` of the images at random, the same for the same step."""
        indices = torch.randperm(len(self), generator=torch.Generator().manual_seed(step))[:count]
        return self.images[indices], self.labels[indices]


@torch.no_grad()
def far(model: nn.Module, batches: Iterable[Batch], limit: float) -> Far:
    """The first images with an activation's argument beyond +-`limit`; leaves the model in `eval` mode."""
    model.eval()
    device = next(model.parameters()).device
    largest: list[Tensor] = []

    def watch(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        largest.append(inputs[0].abs().flatten(1).amax(1))

    handles = [module.register_forward_pre_hook(watch) for module in activations(model).values()]
    images: list[Tensor] = []
    labels: list[Tensor] = []
    try:
        for x, y in batches:
            largest.clear()
            model(x.to(device))
            # What is not a number is far as well.
            out = ~(torch.stack(largest).amax(0) <= limit).cpu()
            images.append(x.cpu()[out])
            labels.append(y.cpu()[out])
            if sum(map(len, labels)) >= KEPT:
                break
    finally:
        for handle in handles:
            handle.remove()
    return Far(torch.cat(images)[:KEPT], torch.cat(labels)[:KEPT])
