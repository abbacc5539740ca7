"""Labels in their common forms: numbers, words, a 0/1 matrix, or regression targets, some of them missing.

A missing label is NaN, None or masked, and its image is left out. −1 is an ordinary class, as {−1, 1} is a common pair of
classes; mark a missing label as NaN or None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import Array, Index

Kind = Literal["auto", "classes", "multilabel", "regression"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the images that have one.

    `kept`, bool [all images], marks these images. For classes, `index`, intp [images], is the position of each image's class
    in the sorted `names`; otherwise both are empty. `columns`, float64 [images, targets], is one-hot for classes.
    """

    kind: Literal["classes", "multilabel", "regression"]
    kept: NDArray[np.bool_]
    index: Index
    names: tuple[Any, ...]
    targets: Array

    @property
    def columns(self) -> Array:
        return np.eye(len(self.names))[self.index] if self.kind == "classes" else self.targets

    @property
    def counts(self) -> Index:
        """Images of each class: intp [classes]."""
        return np.bincount(self.index, minlength=len(self.names))


def read_labels(labels: ArrayLike, kind: Kind = "auto") -> Labels:
    """Read `labels`, [images] or [images, targets], of this `kind`.

    With `auto`, words, booleans and integers [images] are classes, a matrix of 0 and 1 is multilabel, and other numbers are
    regression targets. Raises ConfigError for labels that do not fit the kind, where all are missing, and where all are equal.

    >>> read_labels(["dog", "cat", None]).names
    ('cat', 'dog')
    """
    given = _to_array(labels)
    if given.ndim not in (1, 2) or 0 in given.shape:
        raise ConfigError(f"Labels must have shape [images] or [images, targets], not {list(given.shape)}.")
    kept = ~_find_missing(given)
    if not kept.any():
        raise ConfigError("Every label is missing; give some images a label.")
    present = given[kept]
    settled = _kind_of(present) if kind == "auto" else kind
    if settled == "classes":
        return _read_classes(present, kept)
    return _read_targets(present, kept, settled)


def _to_array(labels: ArrayLike) -> NDArray[Any]:
    if isinstance(labels, np.ma.MaskedArray):
        found = np.array(labels.data, dtype=object)
        found[np.ma.getmaskarray(labels)] = None
        return found
    found = np.asarray(labels)
    # NumPy would convert None and NaN in a list of words to the words "None" and "nan"; as objects they are kept.
    return np.asarray(labels, dtype=object) if found.dtype.kind in "US" and not isinstance(labels, np.ndarray) else found


def _find_missing(given: NDArray[Any]) -> NDArray[np.bool_]:
    if given.dtype.kind == "O":
        lost: NDArray[np.bool_] = np.array([value is None or value != value for value in given.ravel()], bool).reshape(
            given.shape
        )
    elif given.dtype.kind == "f":
        lost = np.isnan(given)
    else:
        lost = np.zeros(given.shape, bool)
    return np.asarray(lost.any(axis=1)) if given.ndim == 2 else lost


def _kind_of(present: NDArray[Any]) -> Literal["classes", "multilabel", "regression"]:
    if present.ndim == 2:
        return "multilabel" if np.isin(present, (0, 1)).all() else "regression"
    real = present.dtype.kind == "f" or (present.dtype.kind == "O" and all(isinstance(v, float) for v in present))
    return "regression" if real else "classes"


def _read_classes(present: NDArray[Any], kept: NDArray[np.bool_]) -> Labels:
    if present.ndim == 2:
        raise ConfigError("This score takes one class per image: labels of shape [images], not a matrix of targets.")
    if present.dtype.kind == "f" and (present != np.floor(present)).any():
        raise ConfigError("These labels are regression targets, not classes; use logme or linear_probe for those.")
    try:
        names, index = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise ConfigError("The labels mix words and numbers; use one form for all classes.") from error
    if len(names) < 2:
        raise ConfigError(f"All labels are {names[0]!r}; a score needs at least two classes.")
    return Labels("classes", kept, index.astype(np.intp), tuple(names.tolist()), np.empty((len(index), 0)))


def _read_targets(present: NDArray[Any], kept: NDArray[np.bool_], kind: Literal["multilabel", "regression"]) -> Labels:
    try:
        targets = present.reshape(len(present), -1).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The labels are not numbers, as {kind} requires.") from error
    if not np.isfinite(targets).all():
        raise ConfigError("The labels contain infinity; leave those images out.")
    if kind == "multilabel" and not np.isin(targets, (0, 1)).all():
        raise ConfigError("Multilabel labels must be a matrix of 0 and 1: [images, labels].")
    varied = targets.max(axis=0) > targets.min(axis=0)
    if not varied.any():
        raise ConfigError("Every image has the same label; a score needs at least two.")
    return Labels(kind, kept, np.empty(0, np.intp), (), targets[:, varied])
