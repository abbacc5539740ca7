"""The converted graph against ONNX Runtime, at the cut, on real images: what does not match is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.errors import AttributionError, ConversionError, ModelError
from onnxspace.model import runtime
from onnxspace.model.network import Network

#: The largest relative difference of a whole graph that a runtime's coarseness may explain.
COARSE = 0.05
#: Largest difference, relative to the largest value of the tensor, by precision. ONNX Runtime's fast Tanh alone is 1.5e-3
#: off behind a deep network. A value near the border of two
#: quantisation steps may fall on either side: some steps of 1/255.
TOLERANCE = {"float32": 2e-3, "half": 3e-2, "quantised": 1e-1}
_ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm")


def reference(part: Network, images: NDArray[np.float32], path: str) -> list[NDArray[Any]]:
    """What ONNX Runtime computes at the cut, image by image. Raises ModelError where it can't or is not finite.

    It follows the graph node by node: fused integer kernels would round elsewhere.
    """
    try:
        outputs = _run_each(part, images)
    except Exception as error:  # ONNX Runtime has a family of errors of its own, without a common base
        raise ModelError(f"{path} can't be run by ONNX Runtime: {_plain(error)}. Export it again.") from error
    if not all(np.isfinite(output).all() for output in outputs):
        raise AttributionError(
            f"{path} computes NaN or infinity at its encoder on a probe image. Check its weights and its preprocessing."
        )
    return outputs


def _run_each(part: Network, images: NDArray[np.float32]) -> list[NDArray[Any]]:
    try:
        return runtime.run_each(part, images)
    except Exception:  # some kernels exist only behind the optimiser; if not here, its words are the better ones
        return runtime.run_each(part, images, optimise=True)


_HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether activations are rounded to integers on the way."""
    return any(node.op_type.startswith(_ROUNDING) for node in model.graph.node)


def tolerance(model: onnx.ModelProto) -> float:
    """The largest relative difference that rounding can explain in a graph of this precision."""
    if is_quantised(model):
        return TOLERANCE["quantised"]
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    return TOLERANCE["half" if types & _HALVES else "float32"]


def _plain(error: Exception) -> str:
    """ONNX Runtime's message without its codes, source lines and C++ signatures."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z\[])", "", text)
    return text[:300].rstrip(". ")


def outputs_of(graph: Callable[[torch.Tensor], Any], images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The graph's outputs as a tuple, whether it has one or several."""
    found = graph(images)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def verify(
    graph: torch.fx.GraphModule,
    expected: list[NDArray[Any]],
    images: NDArray[np.float32],
    tolerance: float,
    path: str,
    judge: Callable[[], bool] = lambda: False,
    locate: Callable[[], str | None] = lambda: None,
) -> bool:
    """True where `graph` is right on a batch, False where it is right one image at a time only.

    Raises ConversionError where it is not right at all. `judge` tells whether a gap too small for a fault is ONNX
    Runtime's own; `locate` finds the first node where the two part, if it can.
    """
    together = _batched(graph, images)
    if difference(together, expected) <= tolerance:
        return True
    alone = _single(graph, images)
    single = difference(alone, expected)
    if single <= tolerance:
        return False
    if single <= COARSE and judge():
        return difference(together, alone or []) <= tolerance
    where = locate()
    first = f", first at {where}" if where else ""
    raise ConversionError(
        f"{path}: the converted graph departs from ONNX Runtime at the encoder ({_described(single)}{first}). "
        "Name another --encoder, or export the model at opset 17."
    )


def _described(found: float) -> str:
    return "it fails or has another shape" if np.isinf(found) else f"relative difference {found:.2g}"


def _batched(graph: torch.fx.GraphModule, images: NDArray[np.float32]) -> list[NDArray[Any]] | None:
    try:
        with torch.no_grad():
            return [output.float().numpy() for output in outputs_of(graph, torch.from_numpy(images))]
    except Exception:  # any failure at this batch means: not batchable, or not convertible
        return None


def _single(graph: torch.fx.GraphModule, images: NDArray[np.float32]) -> list[NDArray[Any]] | None:
    rows = [_batched(graph, images[i : i + 1]) for i in range(len(images))]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in zip(*known, strict=True)]


def difference(found: list[NDArray[Any]] | None, expected: list[NDArray[Any]]) -> float:
    """Largest absolute difference relative to each tensor's largest value; infinite where shapes differ."""
    if found is None or len(found) != len(expected):
        return float("inf")
    if any(ours.shape != theirs.shape for ours, theirs in zip(found, expected, strict=True)):
        return float("inf")
    return max(_relative(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def _relative(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Values that are not finite must be the same on both sides; where they are, the gap is relative to the largest value."""
    if theirs.size == 0:
        return 0.0
    first, second = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(second)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True) or not np.isfinite(first[finite]).all():
        return float("inf")
    gap = np.abs(first[finite] - second[finite])
    return float(gap.max(initial=0.0) / max(np.abs(second[finite]).max(initial=0.0), 1e-6))
