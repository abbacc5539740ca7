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
from onnxspace.scores.labels import Kind, Labels, read_labels


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

    def __init__(self, features: ArrayLike, labels: ArrayLike, kind: Kind = "auto") -> None:
        numbers = as_table(features)
        self.labels = read_labels(labels, kind)
        if len(numbers) != len(self.labels.kept):
            raise ConfigError(
                f"There are features of {len(numbers)} images and labels of {len(self.labels.kept)}; pass the same images."
            )
        rows = np.flatnonzero(self.labels.kept)
        #: The original position of each image among those with a label.
        self.order: Index = np.arange(len(rows))
        if self.labels.kind == "classes":
            self.order = np.argsort(self.labels.index, kind="stable")
            self.labels = _reorder_labels(self.labels, self.order)
            rows = rows[self.order]
        self.features: Array = numbers[rows].astype(np.float64)
        if not _varies(self.features):
            raise ConfigError("The features are the same for every image, so there is nothing to score.")

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


def prepare(features: ArrayLike | Prepared, labels: ArrayLike | None = None, kind: Kind = "auto") -> Prepared:
    """Check features and labels once, to pass the result to several scores in their place.

    `features` [images, dimensions] may have any real dtype (later axes are flattened); `labels` [images] or [images, targets]
    are of this `kind` ("auto", "classes", "multilabel", "regression"), see `read_labels`. Images without a label are left out.
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
    return Prepared(features, labels, kind)


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
