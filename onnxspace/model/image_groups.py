"""Networks that take N images at a time and nothing else: how images are put into batches of N, and whether they influence each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ModelError
from onnxspace.model.shapes import Shape

#: Largest change of an image's values, relative to the largest value, that counts as rounding when another image is replaced.
_ROUNDING = 1e-4
#: Logarithm of the factor by which a replaced image changes its own part more than others, on the axis of images.
_EXCESS = 0.3
#: Changes that are smaller, relative to the largest, count as this.
_LEAST = 1e-12
Run = Callable[[NDArray[Any]], Sequence[Any]]


@dataclass(frozen=True)
class ImageGroup:
    """That a network takes `size` images at a time; `mixed` says that images of one batch influence each other."""

    size: int
    mixed: bool

    @property
    def words(self) -> str:
        """What is assumed of such a network."""
        return f"{self.size} images at a time, because its batch can't be opened"

    def warnings(self, path: str) -> tuple[str, ...]:
        """What results of the file `path` depend on."""
        words = f"{path} takes {self.size} images at a time, and images of one batch influence each other: its results depend on which"
        return (f"{words} images share a batch. Export it with a batch of one if it is used so.",) if self.mixed else ()


def fill_group(images: NDArray[Any], size: int) -> NDArray[Any]:
    """Return `images` [images, …] with those of the last group repeated, so that their number is a multiple of `size`.

    >>> fill_group(np.array([1, 2, 3, 4, 5, 6]), 4).tolist()
    [1, 2, 3, 4, 5, 6, 5, 6]
    """
    missing = -len(images) % size
    if not missing:
        return images
    last = images[(len(images) - 1) // size * size :]
    return np.concatenate([images, last[np.arange(missing) % len(last)]])


def image_shape(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """Return the shape [images, …] of values whose first axis has `size` images, each with one entry or several in succession.

    >>> image_shape((16, 9, 32), 4)
    (4, 36, 32)
    """
    first, *rest = shape
    if first == size or not rest:
        return (size, *((first // size,) if first != size else ()), *rest)
    return (size, first // size * rest[0], *rest[1:]) if len(rest) > 1 else (size, first // size, *rest)


def shape_of_one(shape: Shape, size: int) -> Shape:
    """Return the shape that a tensor has for one image, where `shape` is that for `size` images.

    >>> shape_of_one((8, 3, 32, 32), 4)
    (2, 3, 32, 32)
    """
    axes = [axis for axis, n in enumerate(shape) if n == size or (axis == 0 and n and n % size == 0)]
    return tuple((n or 0) // size if axis == axes[0] else n for axis, n in enumerate(shape)) if axes else shape


def split_images(values: NDArray[Any], axis: int, size: int) -> NDArray[Any]:
    """Return `values`, which have `size` images on `axis`, as [images, …]."""
    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(image_shape(moved.shape, size))


def find_group(run: Run, batch: NDArray[Any]) -> ImageGroup:
    """Find out whether images of a batch influence each other at the outputs that `run` computes of N images.

    `batch` holds N + 1 images of the network's input that differ. They do where an output has no axis of images too.
    """
    axes, changes = _compare(run, batch)
    size = len(batch) - 1
    return ImageGroup(
        size, any(axis is None or _is_mixed(change, axis, size) for axis, change in zip(axes, changes, strict=True))
    )


def find_image_axes(run: Run, batch: NDArray[Any], path: str, names: Sequence[str]) -> tuple[int, ...]:
    """Find the axis that has the images at each of the tensors `names`, which `run` computes of N images.

    `batch` is as in `find_group`, `path` names the file in errors. Raises ModelError for a tensor that has no values of single images.
    """
    axes, _ = _compare(run, batch)
    for name, axis in zip(names, axes, strict=True):
        if axis is None:
            raise ModelError(
                f"{path} takes {len(batch) - 1} images at a time, and its tensor {name} has no values of single images. Name another "
                "--encoder."
            )
    return tuple(axis for axis in axes if axis is not None)


@dataclass(frozen=True)
class _Change:
    """How much a tensor changes, squared, where the image at each of `places` is replaced; `scale` is its largest value, squared."""

    places: tuple[int, ...]
    squares: tuple[NDArray[np.float64], ...]
    scale: float

    def parts(self, axis: int, size: int) -> NDArray[np.float64]:
        """The change of each image's part of `axis`: [replaced, images]."""
        return np.stack([split_images(one, axis, size).reshape(size, -1).sum(axis=1) for one in self.squares])


def _compare(run: Run, batch: NDArray[Any]) -> tuple[list[int | None], list[_Change]]:
    size = len(batch) - 1
    places = tuple(dict.fromkeys((0, size // 2, size - 1)))
    base = [_to_numbers(one) for one in run(batch[:size])]
    others = [[_to_numbers(one) for one in run(_replace(batch, place))] for place in places]
    changes = [
        _Change(places, tuple(_subtract(row[k], one) ** 2 for row in others), float((one**2).max(initial=0)))
        for k, one in enumerate(base)
    ]
    return [_find_axis(change, size) for change in changes], changes


def _replace(batch: NDArray[Any], place: int) -> NDArray[Any]:
    """The first N of N + 1 images, with the last one in one of their places."""
    replaced = np.array(batch[:-1])
    replaced[place] = batch[-1]
    return replaced


def _to_numbers(value: Any) -> NDArray[np.float64]:
    """Values as finite numbers; anything else than an array of numbers has none."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufV":
        return np.zeros(0)
    return np.nan_to_num(value.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _subtract(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    return first - second if first.shape == second.shape else np.zeros(second.shape)


def _find_axis(change: _Change, size: int) -> int | None:
    """The axis on which the images lie: there a replaced image changes its own part most. Without such, the first if it has as many."""
    shape = change.squares[0].shape
    possible = [axis for axis, n in enumerate(shape) if n == size or (axis == 0 and n and n % size == 0)]
    excess = {axis: _measure_excess(change.parts(axis, size)[:, list(change.places)]) for axis in possible}
    best = max(excess, key=lambda axis: excess[axis], default=None)
    return best if best is not None and excess[best] > _EXCESS else 0 if shape[:1] == (size,) else None


def _measure_excess(changes: NDArray[np.float64]) -> float:
    """By which factor replaced images change their own parts more than others, as a logarithm: 0 where all change in proportion."""
    logs = np.log(np.maximum(changes, max(_LEAST * float(changes.max()), np.finfo(np.float64).tiny)))
    return float(np.diagonal(logs).mean() - logs.mean())


def _is_mixed(change: _Change, axis: int, size: int) -> bool:
    others = (
        np.delete(split_images(one, axis, size), place, 0) for place, one in zip(change.places, change.squares, strict=True)
    )
    return any(one.max(initial=0) > _ROUNDING**2 * change.scale for one in others)
