"""Forward passes over many variants of an image, as many at a time as fit, of which only some numbers are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onnxspace.attribution.batches import halve_batch
from onnxspace.attribution.devices import autocast_for
from onnxspace.attribution.faithfulness.quantity import Outputs, Quantity, Reference
from onnxspace.inputs.execution import Compute
from onnxspace.torchgraph.verify import outputs_of


@dataclass
class ForwardPass:
    """A converted graph without gradients, in passes of `size` images, a multiple of `at_once`; `path` names the model in messages."""

    graph: Callable[[Tensor], Any]
    device: torch.device
    compute: Compute
    size: int
    path: str
    at_once: int = 1

    def __call__(self, values: Tensor) -> Outputs:
        """Return the outputs for `values` [images, …] in one pass, each [images, units]."""
        return _flatten(self.run(values), len(values) + -len(values) % self.at_once, len(values))

    def run(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs for `values` as the graph returns them; the last image is repeated to a multiple of `at_once`."""
        missing = -len(values) % self.at_once
        filled = torch.cat([values, *[values[-1:]] * missing]) if missing else values
        with torch.no_grad(), autocast_for(self.compute, self.device):
            return outputs_of(self.graph, filled.to(self.device))

    def refer(self, image: Tensor, quantity: Quantity) -> Reference:
        """Return what the variants of `image` [1, …] are compared to. Raises as `find_answers` where a target is not in it."""
        raw, images = self.run(image), 1 + -1 % self.at_once
        weights = () if quantity.weigh is None else quantity.weigh(raw, images)
        shapes = tuple((one.shape[0] // images, *one.shape[1:]) if one.dim() else () for one in raw)
        return Reference(_flatten(raw, images, 1), shapes, _flatten(weights, images, 1))

    def reduce(self, count: int, make: Callable[[range], Tensor], keep: Callable[[Outputs], Tensor]) -> Tensor:
        """Return what `keep` makes of the outputs for the variants 0 to `count`, float64 [count] on the host, which `make` makes range by range.

        Where a pass does not fit in memory, it is halved. Raises AttributionError where one image does not fit.
        """
        found: list[Tensor] = []
        start = 0
        while start < count:
            some = range(start, min(start + self.size, count))
            try:
                found.append(keep(self(make(some))).double())
            except (RuntimeError, MemoryError) as error:
                self.size = halve_batch(error, self.size, self.path, self.at_once)
                continue
            start = some.stop
        return torch.cat(found).cpu()  # once, since a GPU is waited for


def _flatten(outputs: Sequence[Tensor], images: int, kept: int) -> Outputs:
    """Outputs of so many images as [kept, units], without those of repeated images."""
    return tuple(output.reshape(images, -1)[:kept] for output in outputs)
