"""Verify an exported file against the framework, on random and on probe images; find the first layer that differs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import ConversionError
from onnxspace.inputs.axes import plain_layout
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Layout, Preprocess
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.network import separate_weights
from onnxspace_converters.loaded_network import Array, LoadedNetwork
from onnxspace_converters.tails import agrees_before

#: A larger difference can't be rounding, so that ONNX's reference implementation is not run.
COARSE = 1e-2
_PROBES = 2
_SIDES = range(16, 1025)  # sizes of images that can be generated
_LOCATED = 1e-4  # tolerance for finding a layer; deep layers differ by more than the outputs


@dataclass(frozen=True)
class ReferenceBatch:
    """A batch of images, and the framework's outputs for it."""

    images: Array
    outputs: Sequence[Array]


def compute_references(loaded: LoadedNetwork) -> list[ReferenceBatch]:
    """Run the framework on the batches to compare on: three random images together, and probe images one by one."""
    rng = np.random.default_rng(0)
    shape = (loaded.batch or 3, *loaded.shape)
    batches = [_draw_batch(rng, shape, loaded.dtype), *probe_batches(loaded)]
    return [ReferenceBatch(batch, [np.asarray(output) for output in loaded.forward(batch)]) for batch in batches]


def _draw_batch(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(max(limits.min, -128), min(limits.max, 255), shape, dtype=dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def probe_batches(loaded: LoadedNetwork) -> Iterator[Array]:
    """Generated probe images as the network's input; none where it does not take images of one or three channels."""
    made = preprocess_of(loaded.shape, loaded.said)
    if made is None:
        return
    side = min(max(made.height, made.width, _SIDES[0]), _SIDES[-1])  # images of another size are resized
    images = Probes.generate(_PROBES, side).images
    values = made(images) if loaded.dtype.kind == "f" else made.pixels(images)
    ordered = values if loaded.dtype.kind == "f" or made.layout == "NHWC" else values.transpose(0, 3, 1, 2)
    each = np.repeat(ordered[:, None], loaded.batch or 1, axis=1)
    yield from each.astype(loaded.dtype)


def preprocess_of(shape: tuple[int, ...], said: ModelOptions) -> Preprocess | None:
    """The preprocessing of a network with the options `said` for images of `shape`; None where these are not images."""
    stated: Layout | None = None if said.layout is None else plain_layout(said.layout)
    layout: Layout = stated or ("NHWC" if len(shape) == 3 and shape[0] not in (1, 3) else "NCHW")
    if len(shape) != 3 or (channels := shape[0 if layout == "NCHW" else 2]) not in (1, 3):
        return None
    height, width = shape[1:] if layout == "NCHW" else shape[:2]
    color = "GREY" if channels == 1 else said.color if said.color not in (None, "GREY") else "RGB"
    numbers = (1 / 127.5, (1.0,), (1.0,)) if said.scale is None else (said.scale, said.mean or (0.0,), said.std or (1.0,))
    return Preprocess(height, width, layout, color or "RGB", said.resize or "squash", *numbers)


def relative_difference(found: Array, expected: Array) -> float:
    """The largest absolute difference over the largest value of `expected`; infinite where shapes or non-finite values differ."""
    if found.shape != expected.shape:
        return float("inf")
    ours, theirs = found.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.isfinite(ours[finite]).all():
        return float("inf")
    gap = np.abs(ours[finite] - theirs[finite]).max(initial=0.0)
    return float(gap / max(np.abs(theirs[finite]).max(initial=0.0), 1e-12))


def largest_difference(found: Sequence[Array], expected: Sequence[Array]) -> float:
    """The largest relative difference of all outputs; infinite where their numbers differ."""
    if len(found) != len(expected):
        return float("inf")
    return max(
        (relative_difference(np.asarray(ours), theirs) for ours, theirs in zip(found, expected, strict=True)), default=0.0
    )


def verify(model: onnx.ModelProto, loaded: LoadedNetwork, references: Sequence[ReferenceBatch], *, dynamic: bool) -> float:
    """The largest relative difference between the file's outputs and the framework's, `references`.

    With `dynamic`, the file takes any batch; else it is run image by image. Raises ConversionError where the difference is
    larger than the tolerance of `loaded`.
    """
    runner = runtime.Runner(separate_weights(model))
    found = 0.0
    for reference in references if dynamic or loaded.batch else _split_batches(references):
        outputs = runner({runner.input: reference.images})
        gap = largest_difference(outputs, reference.outputs)
        if loaded.tolerance < gap <= COARSE and _agrees_with_reference(model, runner.input, reference, loaded.tolerance):
            gap = loaded.tolerance  # ONNX Runtime's fast Tanh and Erf are 1e-3 off behind a deep network
        if gap > loaded.tolerance and agrees_before(model, reference.images, outputs, reference.outputs, loaded.tolerance):
            gap = loaded.tolerance
        if not gap <= loaded.tolerance:
            raise ConversionError(
                f"its outputs differ from the framework's by {_describe_gap(gap)}{_locate_difference(model, loaded, reference)}"
            )
        found = max(found, gap)
    return found


def _split_batches(references: Sequence[ReferenceBatch]) -> Iterator[ReferenceBatch]:
    for reference in references:
        for k in range(len(reference.images)):
            yield ReferenceBatch(reference.images[k : k + 1], [output[k : k + 1] for output in reference.outputs])


def _describe_gap(gap: float) -> str:
    return "shape or non-finite values" if np.isinf(gap) else f"{gap:.1g} of the largest value"


def _agrees_with_reference(model: onnx.ModelProto, name: str, reference: ReferenceBatch, tolerance: float) -> bool:
    """Whether ONNX's reference implementation gives the framework's outputs."""
    with suppress(Exception):  # it may lack an operator; then ONNX Runtime's result counts
        return largest_difference(runtime.run_reference(model, {name: reference.images}), reference.outputs) <= tolerance
    return False


def _locate_difference(model: onnx.ModelProto, loaded: LoadedNetwork, reference: ReferenceBatch) -> str:
    """Words for the first layer whose output is not in the file; empty where the framework does not provide layers."""
    if loaded.layers is None:
        return ""
    with suppress(Exception):  # this is only a hint, and must not hide the error itself
        single = reference.images[:1] if loaded.batch is None else reference.images
        tensors = GraphTensors(model, single)
        last, lost = "", ""
        for name, value in loaded.layers(single):
            present = tensors.find(value) is not None
            last, lost = (name, "") if present else (last, lost or name)
        return f", first at layer {lost}" if lost else ""
    return ""


class GraphTensors:
    """All tensors that a file computes for one batch, to find a framework's layers by their values."""

    def __init__(self, model: onnx.ModelProto, images: Array) -> None:
        network = separate_weights(model)
        names = [name for node in network.proto.graph.node for name in node.output if name]
        runner = runtime.Runner(network.with_outputs(names))
        self.values = dict(zip(names, runner({runner.input: images}), strict=True))

    def find(self, value: Array) -> str | None:
        """The last tensor with the values of `value` in any order of axes; None where there is none."""
        fitting = [name for name, other in self.values.items() if _has_same_values(np.asarray(other), value)]
        return fitting[-1] if fitting else None


def _has_same_values(found: Array, expected: Array) -> bool:
    if found.size != expected.size or sorted(found.shape) != sorted(expected.shape) or found.dtype.kind != "f":
        return False
    return any(relative_difference(turned, expected) <= _LOCATED for turned in _transpose_to(found, expected.shape))


def _transpose_to(found: NDArray[Any], shape: tuple[int, ...]) -> Iterator[Array]:
    """The array with its axes after the first in every order that gives `shape`."""
    if found.ndim > 4:
        yield found
        return
    for order in permutations(range(1, found.ndim)):
        turned = found.transpose(0, *order) if found.ndim else found
        if turned.shape == shape:
            yield turned
