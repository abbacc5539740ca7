"""Verification of a converted graph against ONNX Runtime, at the encoder, on probe images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace.errors import AttributionError, ConversionError, ModelError, is_out_of_memory
from onnxspace.model import runtime
from onnxspace.model.network import Network
from onnxspace.model.noise import TAIL, allow
from onnxspace.storage.printable import shorten

#: Largest relative difference of a whole graph whose every operator is right: what approximate kernels of ONNX Runtime explain,
#: and what the network makes of rounding.
COARSE, LIMIT = 0.05, 0.5
#: Largest relative difference between a graph and its canonical form, which are both computed by Torch.
SAME = 1e-3
#: Largest difference by precision, relative to the largest value of the tensor. ONNX Runtime's fast Tanh alone amounts to
#: 1.5e-3 after a deep network. A value near the boundary between two quantisation steps may be rounded either way, which
#: amounts to several steps of 1/255.
TOLERANCE = {"float32": 2e-3, "half": 3e-2, "quantised": 1e-1}
_AT_ONCE = 2**20  # values that are compared at a time
_SMALLEST = 1e-6  # outputs below are compared as if they were as large
_ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinear", "QGemm")


def compute_reference(
    part: Network, images: NDArray[np.float32], path: str, advice: str = "Export it again.", at_once: int = 1
) -> list[NDArray[Any]]:
    """Compute the outputs of `part` by ONNX Runtime for each of `images` (float32 [images, …]) on its own, or for so many `at_once`.

    The graph is run without optimisation, because fused integer kernels round differently. `path` names the model in
    messages, `advice` the way out where it can't be run. Returns one array per output, [images, …]. Raises ModelError where ONNX Runtime can't run the graph,
    AttributionError where an output is not finite.
    """
    try:
        outputs = _run_each(part, images, at_once)
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{path} can't be run by ONNX Runtime: {_clean_message(error)}. {advice}") from error
    names = [value.name for value in part.proto.graph.output]
    if bad := next((name for name, output in zip(names, outputs, strict=True) if not np.isfinite(output).all()), None):
        raise AttributionError(
            f"{path} computes NaN or infinity in the tensor {shorten(bad, 60)} on a probe image. Check its weights and its preprocessing."
        )
    return outputs


def _run_each(part: Network, images: NDArray[np.float32], at_once: int) -> list[NDArray[Any]]:
    try:
        return runtime.run_each(part, images, at_once=at_once)
    except Exception:  # some graphs run only after optimisation; otherwise that error is the one to report
        return runtime.run_each(part, images, optimise=True, at_once=at_once)


_HALVES = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether a model rounds activations to integers."""
    return any(node.op_type.startswith(_ROUNDING) for node in model.graph.node)


def tolerance(model: onnx.ModelProto) -> float:
    """The largest relative difference that rounding can explain in a model of its precision, from `TOLERANCE`."""
    if is_quantised(model):
        return TOLERANCE["quantised"]
    types = {tensor.data_type for tensor in model.graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)}
    return TOLERANCE["half" if types & _HALVES else "float32"]


def _clean_message(error: Exception) -> str:
    """ONNX Runtime's message without its codes, source lines and C++ signatures."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z\[])", "", text)
    return text[:300].rstrip(". ")


def outputs_of(graph: Callable[[torch.Tensor], Any], images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Run `graph` on `images` (float32 [images, …]) and return its outputs as a tuple, whether it has one or several."""
    found = graph(images)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


@dataclass(frozen=True)
class Reference:
    """What a graph is compared with: `images` (float32 [images, …]) and the `outputs` of ONNX Runtime for them.

    `at_once` is the number of images that the graph takes at a time where it takes no other. `together` says whether all may be run
    together, for which memory may be too little.
    """

    images: NDArray[np.float32]
    outputs: list[NDArray[Any]]
    at_once: int = 1
    together: bool = True


def verify(
    graph: torch.fx.GraphModule, reference: Reference, tolerance: float, path: str,
    widen: Callable[[], Sequence[float]] = tuple,
) -> bool:  # fmt: skip
    """Compare `graph` with what ONNX Runtime computes.

    `tolerance` is the largest relative difference allowed, `path` names the model in messages. `widen` is called where it is
    exceeded, and returns the absolute difference that is allowed for each output.

    Returns True where the graph is correct on a batch, False where it is correct for one image at a time, and a batch is wrong or was
    not run. Raises ConversionError where it is not correct at all.
    """
    images, expected = reference.images, reference.outputs
    batch = _run_batch(graph, images) if reference.together else None
    if batch is not None and difference(batch, expected) <= tolerance:
        return True
    alone = _run_parts(graph, images, reference.at_once)
    single = difference(alone, expected)
    if alone is not None and single <= tolerance:
        return False
    wide = widen()
    if alone is not None and is_within(alone, expected, tolerance, wide):
        return is_within(batch, alone, tolerance, wide)
    raise ConversionError(
        f"{path}: the converted graph differs from ONNX Runtime at the encoder ({describe_difference(single)}). "
        "Name another --encoder, or export the model at opset 17."
    )


def describe_difference(found: float) -> str:
    """A relative difference in words."""
    return "it fails or has another shape" if np.isinf(found) else f"relative difference {found:.2g}"


def is_within(found: list[NDArray[Any]] | None, expected: list[NDArray[Any]], tolerance: float, wide: Sequence[float]) -> bool:
    """Whether each of the arrays `found` differs by at most `tolerance` of its largest value, or by its absolute value in `wide`."""
    if found is None or len(found) != len(expected):
        return False
    limits = wide or [0.0] * len(expected)
    return all(
        (gap := difference([ours], [theirs])) <= tolerance or gap * max(_largest(theirs), _SMALLEST) <= limit
        for ours, theirs, limit in zip(found, expected, limits, strict=True)
    )


def _largest(values: NDArray[Any]) -> float:
    return max(
        (float(np.abs(part[np.isfinite(part)].astype(np.float64)).max(initial=0.0)) for part, _ in _divide(values, values)),
        default=0.0,
    )


def allow_noise(
    network: Network, feeds: Sequence[Mapping[str, Any]], expected: Sequence[Any], *, complete: bool
) -> list[float]:
    """The absolute difference of each output of `network` that counts as none, where its operators are right.

    That is what the outputs move by when the inputs `feeds` do so by rounding, up to `LIMIT` of the outputs `expected`, and for
    integers when ONNX Runtime optimises. If all operators were compared (`complete`), it is at least `COARSE`.
    """
    noise = allow(network, feeds, levels=is_quantised(network.proto))
    sizes = [
        _largest(np.asarray(value)) if isinstance(value, np.ndarray) and value.dtype.kind in "fiu" else 0.0
        for value in expected
    ]
    if not complete:
        return [min(gap, max(COARSE * size, TAIL)) for gap, size in zip(noise, sizes, strict=True)]
    return [max(min(gap, max(LIMIT * size, TAIL)), COARSE * size) for gap, size in zip(noise, sizes, strict=True)]


def _run_batch(graph: torch.fx.GraphModule, images: NDArray[np.float32], *, alone: bool = False) -> list[NDArray[Any]] | None:
    try:
        with torch.no_grad():
            return [output.float().numpy() for output in outputs_of(graph, torch.from_numpy(images))]
    except Exception as error:  # any failure means that the graph is not batchable, or not convertible
        if alone and is_out_of_memory(error):  # which says nothing about the graph
            raise
        return None


def _run_parts(graph: torch.fx.GraphModule, images: NDArray[np.float32], size: int) -> list[NDArray[Any]] | None:
    rows = [_run_batch(graph, images[i : i + size], alone=True) for i in range(0, len(images), size)]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    return [np.concatenate(column) if np.ndim(column[0]) else np.stack(column) for column in zip(*known, strict=True)]


def difference(found: list[NDArray[Any]] | None, expected: list[NDArray[Any]]) -> float:
    """Largest difference of the arrays `found` from those `expected`, relative to the largest expected value of each array.

    It is infinite where `found` is None, where shapes differ, and where infinities or NaN are in different places.
    """
    if found is None or len(found) != len(expected):
        return float("inf")
    if any(ours.shape != theirs.shape for ours, theirs in zip(found, expected, strict=True)):
        return float("inf")
    return max(_relative_difference(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def _relative_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Relative difference of the finite values; infinite where infinities and NaN are not in the same places."""
    gap = largest = 0.0
    for part, other in _divide(ours, theirs):
        first, second = part.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(second)
        if not np.array_equal(first[~finite], second[~finite], equal_nan=True) or not np.isfinite(first[finite]).all():
            return float("inf")
        gap = max(gap, float(np.abs(first[finite] - second[finite]).max(initial=0.0)))
        largest = max(largest, float(np.abs(second[finite]).max(initial=0.0)))
    return gap / max(largest, _SMALLEST)


def _divide(first: NDArray[Any], second: NDArray[Any]) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Corresponding parts of two arrays of one shape, so that few values are in double precision at a time."""
    if first.size <= _AT_ONCE or not first.ndim:
        yield first, second
    elif len(first) == 1:
        yield from _divide(first[0], second[0])
    else:
        count = min(len(first), -(-first.size // _AT_ONCE))
        for pair in zip(np.array_split(first, count), np.array_split(second, count), strict=True):
            yield from _divide(*pair)
