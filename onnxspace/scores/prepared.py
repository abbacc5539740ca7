"""Features and labels, checked once, with quantities that several scores share: means, Gram matrix, spectra.

Scores accept a `Prepared` in place of features and labels. Everything is computed at its first use and cached.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index, as_table
from onnxspace.scores.folds import assign_balanced_folds, assign_folds, scatter_positions
from onnxspace.scores.labels import Kind, Labels, read_labels

#: The most images in a fold of cross-validation: with each fold, systems of equations of this size are solved.
MOST_IN_FOLD = 512


class Spectrum(NamedTuple):
    """Eigenvalues of a Gram matrix, largest first, 0 beyond its rank, and its eigenvectors as columns."""

    values: Array
    vectors: Array


class Prepared:
    """Features of the images that have a label, sorted by class (in the given order where labels are not classes).

    `features`, float64 [images, width], are the numbers themselves. `x`, float64 [images, directions], has the same inner
    products: where dimensions outnumber images, it is rotated into as many directions as there are images. Arguments and
    errors as in `prepare`.
    """

    def __init__(self, features: ArrayLike, labels: ArrayLike, kind: Kind = "auto", content: ArrayLike | None = None) -> None:
        numbers = as_table(features)
        self.labels = read_labels(labels, kind)
        if len(numbers) != len(self.labels.kept):
            raise ConfigError(
                f"There are features of {len(numbers)} images and labels of {len(self.labels.kept)}; pass the same images."
            )
        rows = np.flatnonzero(self.labels.kept)
        contents = _read_content(content, len(numbers), rows)
        #: The original position of each image among those with a label.
        self.order: Index = np.arange(len(rows))
        if self.labels.kind == "classes":
            self.order = np.argsort(self.labels.index, kind="stable")
            self.labels = _reorder_labels(self.labels, self.order)
            rows = rows[self.order]
        #: The place of each image in the order of their content, which decides its fold. Equal images share a place.
        self.content: Index = contents[self.order]
        self.features: Array = numbers[rows].astype(np.float64)
        if not _varies(self.features):
            raise ConfigError("The features are the same for every image, so there is nothing to score. Name another encoder.")

    @property
    def width(self) -> int:
        """Number of dimensions of the given features."""
        return int(self.features.shape[1])

    @property
    def images(self) -> int:
        return len(self.features)

    @property
    def index(self) -> Index:
        """The class of each image, intp [images], sorted. Raises ConfigError where labels are not classes."""
        if self.labels.kind != "classes":
            raise ConfigError(f"This score takes one class per image, not {self.labels.kind} labels.")
        return self.labels.index

    @cached_property
    def folds(self) -> Index:
        """The fold of each image, intp [images] from 0: balanced over classes, equal images in one fold.

        There are as many folds as the median class has images, from 2 to 10, so that a held-out class is not rare among the
        others; of many images, as many folds as keep a fold below `MOST_IN_FOLD`.
        """
        contents, many = len(np.unique(self.content)), -(-self.images // MOST_IN_FOLD)
        if self.labels.kind != "classes":
            return assign_folds(self.content, min(max(10, many), contents))
        median = int(np.sort(self.labels.counts)[(len(self.labels.counts) - 1) // 2])
        return assign_balanced_folds(self.content, self.index, min(max(2, min(median, 10), many), contents))

    def restore_order(self, values: Array) -> Array:
        """Return `values` [images, …] in the order in which the images with a label were given."""
        restored: Array = np.empty_like(values)
        restored[self.order] = values
        return restored

    @cached_property
    def x(self) -> Array:
        if self.width <= self.images:
            return self.features
        # Xᵀ = QR, so X = Rᵀ Qᵀ: Rᵀ has the same inner products, more accurately than the square root of a Gram matrix.
        return np.ascontiguousarray(np.asarray(np.linalg.qr(self.features.T, mode="r")).T)

    @cached_property
    def centred(self) -> Array:
        """`x` minus its mean over the images."""
        found: Array = self.x - self.x.mean(axis=0)
        return found

    @cached_property
    def gram(self) -> Array:
        """`centredᵀ centred`: float64 [directions, directions]."""
        return self.centred.T @ self.centred

    @cached_property
    def spectrum(self) -> Spectrum:
        """The spectrum of `gram`, that of `centred`."""
        return _compute_spectrum(self.gram, self.images)

    @cached_property
    def raw_spectrum(self) -> Spectrum:
        """The spectrum of `xᵀ x`, not centred."""
        return _compute_spectrum(self.x.T @ self.x, self.images)

    @cached_property
    def components(self) -> Array:
        """Principal components of the images: `centred` along the eigenvectors, float64 [images, directions]."""
        return self.centred @ self.spectrum.vectors


def prepare(
    features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto", content: ArrayLike | None = None
) -> Prepared:
    """Check features and labels once, to pass the result to several scores in their place.

    `features` [images, dimensions] may have any real dtype (later axes are flattened); `labels` [images] or [images, targets]
    are of this `kind` ("auto", "classes", "multilabel", "regression"), see `read_labels`. Images without a label are left out.
    `content`, integers [images], is the place of each image in an order of their content, from `order_by_content` of
    `onnxspace.scores.folds`, which decides its fold in cross-validation; without it, a fixed random order of positions does.
    Raises ConfigError for features that are not finite or do not vary, for labels that do not fit the kind, and for different
    numbers of images.

    >>> prepare([[2.0, 0], [1, 0], [0, 2], [0, 1]], ["cat", "dog", None, "cat"]).images
    3
    """
    if isinstance(features, Prepared):
        if labels is not None:
            raise ConfigError("Prepared features have their labels already; pass no others.")
        return features
    if labels is None:
        raise ConfigError("This score needs labels as well as features.")
    return Prepared(features, labels, kind, content)


def _read_content(content: ArrayLike | None, images: int, rows: Index) -> Index:
    """The places of the images of these `rows` in an order of all `images`."""
    if content is None:
        return scatter_positions(len(rows))
    places = np.asarray(content)
    if places.shape != (images,) or places.dtype.kind not in "iu":
        raise ConfigError(f"The content of {images} images is an integer for each, not {places.dtype} {list(places.shape)}.")
    return places[rows].astype(np.intp)


def class_means(rows: Array, index: Index) -> Array:
    """Return the mean of `rows`, float64 [images, columns], of each class: float64 [classes, columns]; `index` is sorted."""
    counts = np.bincount(index)
    return np.add.reduceat(rows, np.cumsum(counts) - counts, axis=0) / counts[:, None]


def class_slices(index: Index) -> list[slice]:
    """Return the slice of rows of each class, for a sorted `index`, intp [images]."""
    ends = np.cumsum(np.bincount(index)).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _compute_spectrum(gram: Array, images: int) -> Spectrum:
    values, vectors = np.linalg.eigh(gram)
    noise = max(images, len(gram)) * np.finfo(np.float64).eps * values[-1]
    return Spectrum(np.where(values > noise, values, 0.0)[::-1].copy(), np.ascontiguousarray(vectors[:, ::-1]))


def _varies(features: Array) -> bool:
    largest = np.maximum(np.abs(features.min(axis=0)), np.abs(features.max(axis=0)))
    return bool((np.ptp(features, axis=0) > 8 * np.finfo(np.float64).eps * largest).any())


def _reorder_labels(labels: Labels, order: Index) -> Labels:
    return Labels(labels.kind, labels.kept, labels.index[order], labels.names, labels.targets[order])
