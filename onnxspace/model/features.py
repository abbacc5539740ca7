"""Features: the values at a network's encoder for many images, streamed to one file that every score then reads."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import AttributionError, ModelError, OnnxspaceError, quote_message
from onnxspace.inputs.execution import Advance
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.group_axes import measure_axes
from onnxspace.model.image_groups import fill_group, split_images
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.providers import Provider, list_providers
from onnxspace.model.rewritten import check_model
from onnxspace.model.runtime import Runner, input_dtype, shapes_of
from onnxspace.model.shapes import refuse_large_tensors
from onnxspace.storage.atomic import whole_array
from onnxspace.storage.regular_files import map_array

#: How positions are pooled: "mean" over all of them, which leaves a value per channel; "none", which keeps every value; or
#: "fit", means over windows where an image has more than `FIT` values.
Pool = Literal["mean", "none", "fit"]
BATCH = 16
FIT = 2**14
_GAP = 2e-3  # relative to the largest value: ONNX Runtime's kernels differ by as much between batch sizes


class GraphRunner(Protocol):
    """What runs a cut graph: called with an array by the name of the `input`, it returns the graph's outputs."""

    input: str

    def __call__(self, feeds: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]: ...


@dataclass(frozen=True)
class Features:
    """The features of one model, in a `.npy` file.

    `values` is float32 [images, dimensions] (or the pooled shape, see `write_features`), memory-mapped from `file`; `shape`
    is the shape of one image at the encoder, without the batch axis.
    """

    file: Path
    shape: tuple[int, ...]

    @property
    def values(self) -> NDArray[np.float32]:
        """The features, memory-mapped and read-only."""
        mapped: NDArray[np.float32] = map_array(self.file)
        return mapped


def features_key(model: Model, tensors: Sequence[str], pool: Pool, images_sha256: str, provider: Provider = "cpu") -> str:
    """Cache key of a file of features: 32 hexadecimal digits.

    It depends on the model's checksum, the names of the `tensors`, the preprocessing, the `pool`, `images_sha256`, the
    checksum of the images, and the `provider`, whose bits differ from another's.
    """
    sha256, *others = model.identity
    facts = (sha256, tuple(tensors), *others, pool, images_sha256, *(() if provider == "cpu" else (provider,)))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def shape_of_file(encoder: Encoder, images: int, shape: tuple[int, ...], rows: int, pool: Pool) -> tuple[int, ...]:
    """The shape of a file of features of so many images, each of `shape`, or of `rows` values where tensors follow each other."""
    return (images, *shape) if pool == "fit" and len(encoder.tensors) == 1 else (images, rows)


def find_class_output(model: Model) -> Encoder | None:
    """Find the output that holds one number per class, for at least two classes; None where there is none, or several."""
    reached = model.graph.descendants_of(model.image.name)
    names = [name for name in model.graph.outputs if model.graph.producer.get(name) in reached]
    try:
        shapes = shapes_of(model.network, names, model.input_shape)
    except Exception:  # ONNX Runtime's errors share no base class; a model that can't be run has no class output
        return None
    flat = [name for name, shape in shapes.items() if len(shape) == 2 and shape[0] == model.images_at_once and shape[1] > 1]
    return Encoder((flat[0],), "the output with a number per class") if len(flat) == 1 else None


def write_features(
    model: Model, encoder: Encoder, images: NDArray[np.uint8], file: Path, pool: Pool = "none", progress: Advance | None = None,
    provider: Provider | GraphRunner = "cpu",
) -> Features:  # fmt: skip
    """Run the part of `model` below `encoder` on `images` (uint8 [images, size, size, 3]) and write its outputs to `file`.

    The file holds one row per image, with the encoder's tensors one after another. `pool` "mean" averages convolutional
    outputs [channels, height, width] over positions, and sequences [tokens, channels] over tokens; "fit" pools windows as
    `pool_to_fit` does, and keeps the shape of a single tensor: [images, channels, height, width]. ONNX Runtime runs in
    batches where the graph gives the same results for them as for single images. `progress` is called with the number of
    images of each batch, `provider` where ONNX Runtime runs the network, or what runs it instead. The file is written whole or not at
    all.

    Returns the features. Raises ModelError where ONNX Runtime can't run the model, AttributionError for values that are not
    finite, OutputError where the file can't be written.
    """
    check_model(model, images)
    found = load_pass(model, encoder, pool, provider)
    shape, rows = found.measure(images)
    whole = shape_of_file(encoder, len(images), shape, rows, pool)
    step = max(1, BATCH // model.images_at_once) * model.images_at_once
    with whole_array(file, whole, np.float32) as append:
        for start in range(0, len(images), step):
            values = found(images[start : start + step])
            check_finite(values, start, model.path)
            append(values)
            if progress is not None:
                progress(len(values))
    return Features(file, shape)


def load_pass(model: Model, encoder: Encoder, pool: Pool, provider: Provider | GraphRunner = "cpu") -> ForwardPass | _GroupPass:
    """Return the part of `model` below `encoder`, ready to be run on batches of images; `provider` as in `write_features`. Raises ModelError."""
    part = cut(model, encoder)
    runner = load_runner(model, part, provider) if isinstance(provider, str) else provider
    if model.group is None:
        return ForwardPass(model, part, pool, runner)
    return _GroupPass(model, part, pool, runner, encoder.tensors)


class ForwardPass:
    """A cut graph, loaded and ready to be run on batches of images."""

    def __init__(self, model: Model, part: Network, pool: Pool, runner: GraphRunner) -> None:
        self.model, self.pool = model, pool
        self.dtype = input_dtype(part)
        self.runner = runner
        self.batched = True

    def measure(self, images: NDArray[np.uint8]) -> tuple[tuple[int, ...], int]:
        """The shape of one image at the encoder's first tensor, and the length of a row; also tests whether batches agree."""
        two = images[:2] if len(images) > 1 else np.concatenate([images, images[:, ::-1]])
        values = self.model.preprocess(two).astype(self.dtype)
        alone = [self._run(values[i : i + 1]) for i in range(2)]
        row = np.concatenate([self._flatten(one, 1) for one in alone])
        self.batched = self._agrees(values, row)
        first = np.asarray(alone[0][0])
        shape = pool_to_fit(restore_image_axis(first, 1)).shape if self.pool == "fit" else first.shape
        return tuple(shape[1:]), row.shape[1]

    def _agrees(self, values: NDArray[Any], expected: NDArray[np.float32]) -> bool:
        try:
            together = self._flatten(self._run(values), 2)
        except ModelError:
            return False
        with np.errstate(invalid="ignore"):  # infinities are reported by `check_finite`
            gap = np.abs(together - expected).max(initial=0.0) if together.shape == expected.shape else np.inf
        return bool(gap <= _GAP * max(float(np.abs(expected).max(initial=0.0)), 1e-6))

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32 [images, dimensions]."""
        values = self.model.preprocess(images).astype(self.dtype)
        if self.batched:
            return self._flatten(self._run(values), len(values))
        return np.concatenate([self._flatten(self._run(values[i : i + 1]), 1) for i in range(len(values))])

    def split(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """The pooled values of each tensor: float32 [images, …], in their order."""
        values = self.model.preprocess(images).astype(self.dtype)
        step = len(values) if self.batched else 1
        runs = [self._run(values[i : i + step]) for i in range(0, len(values), step)]
        return [self._join(column, step) for column in zip(*runs, strict=True)]

    def _join(self, parts: Sequence[NDArray[Any]], images: int) -> NDArray[np.float32]:
        rows = [restore_image_axis(np.asarray(one, np.float32), images) for one in parts]
        return np.concatenate([_pool(one, self.pool) for one in rows])

    def _run(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        try:
            return self.runner({self.runner.input: values})
        except OnnxspaceError:
            raise
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise ModelError(
                f"{self.model.path} can't be run by ONNX Runtime ({quote_message(error)}). {self.model.advice}"
            ) from error

    def _flatten(self, outputs: Sequence[NDArray[Any]], images: int) -> NDArray[np.float32]:
        return np.concatenate([_flatten_output(np.asarray(one, np.float32), images, self.pool) for one in outputs], axis=1)


class _GroupPass(ForwardPass):
    """A cut graph that is run on N images at a time; those of the last N are repeated where there are fewer."""

    def __init__(self, model: Model, part: Network, pool: Pool, runner: GraphRunner, tensors: Sequence[str]) -> None:
        super().__init__(model, part, pool, runner)
        self.size = model.images_at_once
        self.axes = measure_axes(model, lambda values: self._run(values.astype(self.dtype)), tensors)

    def measure(self, images: NDArray[np.uint8]) -> tuple[tuple[int, ...], int]:
        first = self._split(self.model.preprocess(fill_group(images[: self.size], self.size)))
        shape = pool_to_fit(first[0]).shape if self.pool == "fit" else first[0].shape
        return tuple(shape[1:]), self._flatten(first, self.size).shape[1]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        values = self.model.preprocess(fill_group(images, self.size))
        groups = [self._split(values[i : i + self.size]) for i in range(0, len(values), self.size)]
        return np.concatenate([self._flatten(group, self.size) for group in groups])[: len(images)]

    def split(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        values = self.model.preprocess(fill_group(images, self.size))
        groups = [self._split(values[i : i + self.size]) for i in range(0, len(values), self.size)]
        return [self._join(column, self.size)[: len(images)] for column in zip(*groups, strict=True)]

    def _split(self, values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        outputs = self._run(values.astype(self.dtype))
        return [
            split_images(np.asarray(one, np.float32), axis, self.size) for one, axis in zip(outputs, self.axes, strict=True)
        ]


def _flatten_output(output: NDArray[np.float32], images: int, pool: Pool) -> NDArray[np.float32]:
    output = _pool(restore_image_axis(output, images), pool)
    return output.reshape(len(output), -1)


def _pool(output: NDArray[np.float32], pool: Pool) -> NDArray[np.float32]:
    if pool == "fit":
        return pool_to_fit(output)
    if pool == "mean" and output.ndim >= 4:
        return np.asarray(output.mean(axis=tuple(range(2, output.ndim))))
    return np.asarray(output.mean(axis=1)) if pool == "mean" and output.ndim == 3 else output


def restore_image_axis(output: NDArray[np.float32], images: int) -> NDArray[np.float32]:
    """`output` with its leading image axis, which a graph for a single image may have dropped: [images, …]."""
    if output.shape[:1] == (images,):
        return output
    return output.reshape(images, -1) if images == 1 else output.reshape(-1)[None]


def pool_to_fit(output: NDArray[np.float32], most: int = FIT) -> NDArray[np.float32]:
    """Pool `output` (float32 [images, …]) to at most `most` values per image, by means over the smallest windows that do.

    Windows are squares of positions in [images, channels, height, width] and runs of tokens in [images, tokens, channels];
    those at the end may be smaller. An output that is small enough already, or [images, dimensions], is returned as it is.

    >>> pool_to_fit(np.ones((1, 4, 8, 8), np.float32), most=64).shape
    (1, 4, 4, 4)
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


def load_runner(model: Model, part: Network, provider: Provider = "cpu") -> Runner:
    """Load a `part` of `model` into ONNX Runtime. Raises ModelError where it can't be loaded, or has a tensor that is too large."""
    refuse_large_tensors(part.proto, {model.image.name: model.input_shape}, model.path)
    return _load_runner(part, model.path, provider)


def _load_runner(part: Network, path: str, provider: Provider = "cpu") -> Runner:
    providers = list_providers(provider)
    try:
        return Runner(part, optimise=True, providers=providers)
    except Exception:  # a few graphs run only without optimisation
        try:
            return Runner(part, providers=providers)
        except Exception as error:
            raise ModelError(f"{path} can't be loaded by ONNX Runtime ({quote_message(error)}). Export it again.") from error


def check_finite(values: NDArray[np.float32], first: int, path: str) -> None:
    """Raise AttributionError where a value of `values` [images, dimensions] is not finite; `first` is the number of the first image."""
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if bad.size:
        raise AttributionError(
            f"{path} computes NaN or infinity at its encoder for image {first + int(bad[0])}. "
            "Check its weights and preprocessing."
        )


def compute_per_image(model: Model, tensors: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    """Compute the values of `tensors` for each of `images` (uint8 [images, size, size, 3]) on its own.

    Where the model takes several images at a time, so many are computed together. Returns one array [images, …] per tensor. Raises
    ModelError where ONNX Runtime can't run the model.
    """
    part = cut(model, Encoder(tuple(tensors), "requested"))
    if model.group is not None:
        return _compute_by_group(model, part, tensors, images)
    runner, values = _load_runner(part, model.path), model.preprocess(images).astype(input_dtype(part))
    try:
        rows = [runner({runner.input: values[i : i + 1]}) for i in range(len(values))]
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{model.path} can't be run by ONNX Runtime ({quote_message(error)}). {model.advice}") from error
    return [
        np.stack([np.asarray(one)[0] if np.ndim(one) > 1 else np.asarray(one) for one in column])
        for column in zip(*rows, strict=True)
    ]


def _compute_by_group(model: Model, part: Network, tensors: Sequence[str], images: NDArray[np.uint8]) -> list[NDArray[Any]]:
    found = _GroupPass(model, part, "none", load_runner(model, part), tensors)
    values = model.preprocess(fill_group(images, found.size))
    groups = [found._split(values[i : i + found.size]) for i in range(0, len(values), found.size)]
    return [np.concatenate(column)[: len(images)] for column in zip(*groups, strict=True)]
