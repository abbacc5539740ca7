"""Labels as people have them: numbers, words, a 0/1 matrix, or targets of a regression; some of them missing.

A missing label is NaN, None or masked, and its image is left out with it. −1 is a class like any other, since {−1, 1} is
a common pair of classes: mark a missing label as NaN or None.
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

    `kept`, bool [all images], says which these are. For classes, `index`, intp [images], counts the `names` of the classes
    in sorted order; otherwise it is empty. `columns`, float64 [images, targets], is one-hot for classes.
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
    """Labels from [images] or [images, targets].

    `auto`: words, booleans and integers [images] are classes; a matrix of 0 and 1 is multilabel; other numbers are targets of a
    regression. Raises ConfigError for what fits none of them, for no label at all, and for a single class or target value.
    """
    given = _plain(labels)
    if given.ndim not in (1, 2) or 0 in given.shape:
        raise ConfigError(f"Labels have shape [images] or [images, targets], not {list(given.shape)}.")
    kept = ~_missing(given)
    if not kept.any():
        raise ConfigError("Every label is missing; give some images a label.")
    present = given[kept]
    settled = _kind_of(present) if kind == "auto" else kind
    if settled == "classes":
        return _classes(present, kept)
    return _targets(present, kept, settled)


def _plain(labels: ArrayLike) -> NDArray[Any]:
    if isinstance(labels, np.ma.MaskedArray):
        found = np.array(labels.data, dtype=object)
        found[np.ma.getmaskarray(labels)] = None
        return found
    found = np.asarray(labels)
    # A list of words with None or NaN in it becomes words "None" or "nan"; as objects they stay what they are.
    return np.asarray(labels, dtype=object) if found.dtype.kind in "US" and not isinstance(labels, np.ndarray) else found


def _missing(given: NDArray[Any]) -> NDArray[np.bool_]:
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


def _classes(present: NDArray[Any], kept: NDArray[np.bool_]) -> Labels:
    if present.ndim == 2:
        raise ConfigError("This score takes one class per image: labels of shape [images], not a matrix of targets.")
    if present.dtype.kind == "f" and (present != np.floor(present)).any():
        raise ConfigError("These labels are targets of a regression, not classes; logme and linear_probe take those.")
    try:
        names, index = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise ConfigError("The labels mix words and numbers; write the classes in one way.") from error
    if len(names) < 2:
        raise ConfigError(f"All labels are {names[0]!r}; a score needs at least two classes.")
    return Labels("classes", kept, index.astype(np.intp), tuple(names.tolist()), np.empty((len(index), 0)))


def _targets(present: NDArray[Any], kept: NDArray[np.bool_], kind: Literal["multilabel", "regression"]) -> Labels:
    try:
        targets = present.reshape(len(present), -1).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"The labels are not numbers, which {kind} asks for.") from error
    if not np.isfinite(targets).all():
        raise ConfigError("The labels hold infinity; leave those images out.")
    if kind == "multilabel" and not np.isin(targets, (0, 1)).all():
        raise ConfigError("Multilabel labels are a matrix of 0 and 1: [images, labels].")
    varied = targets.max(axis=0) > targets.min(axis=0)
    if not varied.any():
        raise ConfigError("Every image has the same label; a score needs at least two.")
    return Labels(kind, kept, np.empty(0, np.intp), (), targets[:, varied])
