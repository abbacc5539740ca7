"""The canonical form of a Torch graph, with every operator before it and the form itself verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from onnxspace.errors import ConversionError
from onnxspace.model import runtime
from onnxspace.model.network import Network
from onnxspace.torchgraph.passes.canonicalise import canonicalise
from onnxspace.torchgraph.verify import SAME, allow_noise, difference, is_within, tolerance
from onnxspace.torchgraph.verify_nodes import check_nodes, widen_inputs


def canonicalise_verified(graph: fx.GraphModule, part: Network, normal: Network, feed: Mapping[str, Any], path: str) -> bool:
    """Bring `graph` to its canonical form, in place, after its operators were compared with ONNX Runtime; the form is compared too.

    `graph` is what `build` made of `normal`, the normalised form of `part`; `feed` holds inputs by name, `path` names the model in
    errors. Returns whether every operator could be compared. Raises ConversionError naming the first operator that differs.
    """
    complete = _run_alike(part, normal, feed) and check_nodes(graph, normal, feed, path)
    inputs = _to_inputs(normal, feed)
    before = _run(graph, inputs)
    canonicalise(graph)
    if before is not None:
        _compare_forms(before, _run(graph, inputs), lambda: allow_noise(normal, [feed], before, complete=False), path)
    return complete


def _run_alike(part: Network, normal: Network, feed: Mapping[str, Any]) -> bool:
    """Whether ONNX Runtime computes the same from both forms of a network: it returns chance values from some unusual nodes."""
    try:
        expected, found = runtime.run(part, feed), runtime.run(normal, widen_inputs(feed))
        allowed = tolerance(part.proto)
        wide = [] if difference(found, expected) <= allowed else allow_noise(part, [feed], expected, complete=True)
        return is_within(found, expected, allowed, wide)
    except Exception:  # ONNX Runtime's errors share no base class; outputs that are no arrays
        return False


def _to_inputs(normal: Network, feed: Mapping[str, Any]) -> list[torch.Tensor] | None:
    """The inputs as tensors, in single precision; None where one is no array."""
    values = [feed[value.name] for value in normal.graph.inputs]
    if not all(isinstance(value, np.ndarray) for value in values):
        return None
    return [torch.from_numpy(value.astype(np.float32) if value.dtype.kind in "fV" else value) for value in values]


def _run(graph: fx.GraphModule, inputs: Sequence[torch.Tensor] | None) -> list[NDArray[Any]] | None:
    """The outputs of a graph; None where it fails, or one of them is no tensor: then the comparison with the file decides."""
    if inputs is None:
        return None
    try:
        with torch.no_grad():
            found = graph(*inputs)
        return [output.numpy() for output in (found if isinstance(found, tuple) else (found,))]
    except Exception:  # Torch's errors on a graph that is not right
        return None


def _compare_forms(
    before: list[NDArray[Any]], after: list[NDArray[Any]] | None, widen: Callable[[], Sequence[float]], path: str
) -> None:
    gap = difference(after, before)
    if gap > SAME and not is_within(after, before, SAME, widen()):
        raise ConversionError(
            f"{path}: its canonical form differs from its graph (relative difference {gap:.2g}). Name another --encoder, or export "
            "the model at opset 17."
        )
