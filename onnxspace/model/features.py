"""What a network computes at its encoder, for many images: streamed to one file, which every score then reads."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxspace.errors import AttributionError, ModelError
from onnxspace.model.encoder import FLOATS, Encoder, cut
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.runtime import Runner, input_dtype, shapes_of
from onnxspace.storage.atomic import whole_array

#: What becomes of positions: the mean over them, a value per channel; every value as it is; or means over windows, where an
#: image has more than `FIT` values.
Pool = Literal["mean", "none", "fit"]
BATCH = 16
FIT = 2**14
_GAP = 2e-3  # of the largest value: as much as ONNX Runtime's kernels differ between batches

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Features:
    """`values`: float32 [images, dimensions], memory-mapped from `file`. `shape` is one image's at the encoder."""

    file: Path
    shape: tuple[int, ...]

    @property
    def values(self) -> NDArray[np.float32]:
        mapped: NDArray[np.float32] = np.load(self.file, mmap_mode="r", allow_pickle=False)
        return mapped


def features_key(model: Model, tensors: Sequence[str], pool: Pool, images_sha256: str) -> str:
    """32 hex digits for all that determines a file of features."""
    facts = (model.sha256, tuple(tensors), model.preprocess, model.image.name, pool, images_sha256)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def class_output(model: Model) -> Encoder | None:
    """The output that holds a number per class, at least two; None where the model has none, or several."""
    reached = model.graph.depends_on(model.image.name)
    names = [name for name in model.graph.outputs if model.graph.producer.get(name) in reached]
    try:
        shapes = shapes_of(model.network, names, model.input_shape)
    except Exception:  # ONNX Runtime has a family of errors of its own; what can't be run has no output to read
        return None
    flat = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == 1 and shape[1] > 1]
    return Encoder((flat[0],), "the output with a number per class") if len(flat) == 1 else None


def answers_of(model: Model) -> Encoder:
    """All outputs that depend on the image and are floating-point. Raises ModelError where there is none."""
    reached = model.graph.depends_on(model.image.name)
    there = [name for name in model.graph.outputs if model.graph.producer.get(name) in reached]
    kinds = {output.name: output.type.tensor_type.elem_type for output in model.proto.graph.output}
    names = tuple(name for name in there if kinds.get(name, TensorProto.UNDEFINED) in FLOATS)
    if not names:
        raise ModelError(f"{model.path} has no output of floating-point numbers that depends on its image.")
    return Encoder(names, "the outputs")


def write_features(
    model: Model, encoder: Encoder, images: NDArray[np.uint8], file: Path, pool: Pool = "none", progress: Progress | None = None
) -> Features:
    """Run the part below the encoder on `images`, uint8 [images, size, size, 3], and write what it gives to `file`.

    A row per image, the encoder's tensors one after another. `mean` pools convolutional outputs [channels, height, width]
    over positions, and sequences [tokens, channels] over tokens; `fit` pools windows as `fitted` does, and leaves one tensor
    in its shape: [images, channels, height, width]. ONNX Runtime computes, in batches where the graph gives
    the same for them as for single images. `progress` gets numbers of images. The file appears whole or not at all.

    Raises ModelError where the runtime can't run it, AttributionError for values that are not finite, OutputError.
    """
    found = _Forward(model, cut(model, encoder), pool)
    shape, rows = found.described(images)
    whole = (len(images), *shape) if pool == "fit" and len(encoder.tensors) == 1 else (len(images), rows)
    with whole_array(file, whole, np.float32) as append:
        for start in range(0, len(images), BATCH):
            values = found(images[start : start + BATCH])
            _check_finite(values, start, model.path)
            append(values)
            if progress is not None:
                progress(len(values))
    return Features(file, shape)


class _Forward:
    """A cut graph, ready to be run on batches of images."""

    def __init__(self, model: Model, part: Network, pool: Pool) -> None:
        self.model, self.pool = model, pool
        self.dtype = input_dtype(part)
        self.runner = _runner(part, model.path)
        self.batched = True

    def described(self, images: NDArray[np.uint8]) -> tuple[tuple[int, ...], int]:
        """One image's shape at the encoder (of its first tensor), and the length of a row; finds out whether batches hold."""
        two = images[:2] if len(images) > 1 else np.concatenate([images, images[:, ::-1]])
        values = self.model.preprocess(two).astype(self.dtype)
        alone = [self._run(values[i : i + 1]) for i in range(2)]
        row = np.concatenate([self._rows(one, 1) for one in alone])
        self.batched = self._agrees(values, row)
        first = np.asarray(alone[0][0])
        shape = fitted(per_image(first, 1)).shape if self.pool == "fit" else first.shape
        return tuple(shape[1:]), row.shape[1]

    def _agrees(self, values: NDArray[Any], expected: NDArray[np.float32]) -> bool:
        try:
            together = self._rows(self._run(values), 2)
        except ModelError:
            return False
        with np.errstate(invalid="ignore"):  # infinities are refused elsewhere
            gap = np.abs(together - expected).max(initial=0.0) if together.shape == expected.shape else np.inf
        return bool(gap <= _GAP * max(float(np.abs(expected).max(initial=0.0)), 1e-6))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [images, dimensions]."""
        values = self.model.preprocess(images).astype(self.dtype)
        if self.batched:
            return self._rows(self._run(values), len(values))
        return np.concatenate([self._rows(self._run(values[i : i + 1]), 1) for i in range(len(values))])

    def _run(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            return self.runner({self.runner.input: values})
        except Exception as error:  # ONNX Runtime has a family of errors of its own, without a common base
            raise ModelError(
                f"{self.model.path} can't be run by ONNX Runtime ({_first_line(error)}). Export it again."
            ) from error

    def _rows(self, outputs: Sequence[NDArray[Any]], images: int) -> NDArray[np.float32]:
        return np.concatenate([_row(np.asarray(one, np.float32), images, self.pool) for one in outputs], axis=1)


def _row(output: NDArray[np.float32], images: int, pool: Pool) -> NDArray[np.float32]:
    output = per_image(output, images)
    if pool == "fit":
        output = fitted(output)
    elif pool == "mean" and output.ndim >= 4:
        output = output.mean(axis=tuple(range(2, output.ndim)))
    elif pool == "mean" and output.ndim == 3:
        output = output.mean(axis=1)
    return output.reshape(len(output), -1)


def per_image(output: NDArray[np.float32], images: int) -> NDArray[np.float32]:
    """The same with an axis for images in front: a graph for one image may drop it."""
    if output.shape[:1] == (images,):
        return output
    return output.reshape(images, -1) if images == 1 else output.reshape(-1)[None]


def fitted(output: NDArray[np.float32], most: int = FIT) -> NDArray[np.float32]:
    """Means over the smallest windows that leave an image at most `most` values, float32 [images, …]; as given where it has no more.

    Windows are squares of [images, channels, height, width] and stretches of [images, tokens, channels]; those at the end
    may be smaller. [images, dimensions] have none.
    """
    axes = range(2, output.ndim) if output.ndim >= 4 else range(1, output.ndim - 1)
    fixed = math.prod(n for axis, n in enumerate(output.shape) if axis and axis not in axes)
    sides = [output.shape[axis] for axis in axes]
    factor = next(
        (f for f in range(1, max(sides, default=0)) if fixed * math.prod(-(-n // f) for n in sides) <= most),
        max(sides, default=1),
    )
    for axis in axes if factor > 1 else ():
        starts = np.arange(0, output.shape[axis], factor)
        lengths = np.diff(starts, append=output.shape[axis]).reshape([-1 if a == axis else 1 for a in range(output.ndim)])
        output = (np.add.reduceat(output, starts, axis) / lengths).astype(np.float32)
    return output


def _runner(part: Network, path: str) -> Runner:
    try:
        return Runner(part, optimise=True)
    except Exception:  # a few graphs are run as they stand only
        try:
            return Runner(part)
        except Exception as error:
            raise ModelError(f"{path} can't be loaded by ONNX Runtime ({_first_line(error)}). Export it again.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _check_finite(values: NDArray[np.float32], first: int, path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise AttributionError(
            f"{path} computes NaN or infinity at its encoder for image {first + int(bad[0])}. Check its weights and preprocessing."
        )


def single_outputs(model: Model, tensors: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Values of some tensors for each image on its own, [images, …] each. Raises ModelError where they can't be had."""
    part = cut(model, Encoder(tuple(tensors), "asked for"))
    runner, values = _runner(part, model.path), model.preprocess(images).astype(input_dtype(part))
    try:
        rows = [runner({runner.input: values[i : i + 1]}) for i in range(len(values))]
    except Exception as error:  # ONNX Runtime has a family of errors of its own, without a common base
        raise ModelError(f"{model.path} can't be run by ONNX Runtime ({_first_line(error)}). Export it again.") from error
    return [
        np.stack([np.asarray(one)[0] if np.ndim(one) > 1 else np.asarray(one) for one in column])
        for column in zip(*rows, strict=True)
    ]
