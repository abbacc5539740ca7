"""Features and outputs in little: what a fingerprint keeps of them, so that rankings change little.

Scores that predict outputs depend on features through products of their averages over a grid, and on outputs through products
too, so that both are kept on principal axes: rotations, which change no product, without the axes of least variance. Features
[images, channels, height, width] are averaged over a grid and their channels projected; outputs become the rows that
`predictivity` predicts, and a classifier's classes. The error that this makes is measured in `docs/fingerprints.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, OnnxspaceError
from onnxspace.inputs.protocol import Detail
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.answers import describe_answers, find_classes
from onnxspace.scores.arrays import Array, Index, as_table
from onnxspace.scores.grids import as_feature_grid, average_pool, project_on_principal_axes
from onnxspace.scores.pairs.dds import centred_similarities
from onnxspace.scores.pairs.knn_agreement import Answers
from onnxspace.scores.pairs.predictivity import SourceFeatures, TargetOutputs, unfold_features
from onnxspace.scores.pairs.probability_predictivity import prepare_probabilities
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import CHANNELS, COLUMNS, SIDES, Reduced

_FEW = 8  # images whose features are widened at once, which fit a core's cache


def reduce_arrays(
    detail: Detail, order: Index, features: NDArray[Any] | None, outputs: NDArray[Any] | None, lost: dict[str, str]
) -> Reduced:
    """Reduce a model's `features` and `outputs` [images, …] (None: it has none, and `lost` has the reason).

    `detail` says for what: answers per `images`, or `pictures` too; `order`, intp [images], is the order of the images by content.
    """
    reasons = dict(lost)
    parts: dict[str, Any] = {}
    for kind, values, reduce in (("features", features, reduce_features), ("outputs", outputs, reduce_outputs)):
        try:
            parts |= {} if values is None else reduce(values, detail)
        except OnnxspaceError as error:  # the same for every image, or too few of them
            reasons[kind] = str(error)
    return Reduced(detail, order, lost=reasons, **parts)


def reduce_features(features: NDArray[Any], detail: Detail) -> dict[str, Any]:
    """Return what `Reduced` holds of an encoder's `features` [images, …]. Raises ConfigError."""
    triangle = centred_similarities(features)[np.triu_indices(len(features))]
    picture = as_feature_grid(features)
    if picture is None:
        rows = as_table(features).astype(np.float64)
        kept: dict[str, Any] = {"features": _to_half(project_on_principal_axes(rows)), "channels": rows.shape[1]}
    else:
        side = SIDES[detail]
        pooled = average_pool(picture, (side, side))
        flat = _project(np.moveaxis(pooled, 1, -1).reshape(-1, pooled.shape[1]), CHANNELS[detail])
        kept = _to_levels(flat) | {"channels": pooled.shape[1]}
        kept["levels"] = np.moveaxis(kept["levels"].reshape(len(pooled), side, side, -1), -1, 1)
    return {**kept, "similarities": _to_half(triangle)}


def reduce_outputs(outputs: NDArray[Any], detail: Detail) -> dict[str, Any]:
    """Return `answers`, `classes` and `remarks` of `Reduced`. Raises ConfigError for outputs that can't be predicted."""
    target, classes = prepare_probabilities(outputs), find_classes(outputs)
    if target.dense and detail != "pictures":
        raise ConfigError("its outputs are pictures, which a fingerprint of this detail does not hold")
    kept = "pictures" if target.dense else "images"
    rows = _project(target.rows, COLUMNS[kept])
    return {
        "answers": _to_half(rows), "classes": None if classes is None else classes.astype(np.int32),
        "remarks": tuple(sentence[:400] for sentence in describe_answers(outputs)),
    }  # fmt: skip


def _project(rows: Array, most: int) -> Array:
    """Project rows on at most so many principal axes, those of most variance first."""
    return project_on_principal_axes(rows, most) if rows.shape[1] > most else rows - rows.mean(axis=0)


def _to_levels(rows: Array) -> dict[str, Any]:
    """Rows, float64 [rows, channels], as int8 levels and the scale of each channel; all are divided by their root mean square."""
    size = float(np.sqrt(np.mean(np.square(rows)))) or 1.0
    scales = np.maximum(np.abs(rows).max(axis=0) / size / 127, 1e-12).astype(np.float32)
    return {"levels": np.clip(np.rint(rows / size / scales), -127, 127).astype(np.int8), "scales": scales}


def _to_half(values: Array) -> NDArray[np.float16]:
    """Values divided by their root mean square, which no score depends on, as float16."""
    size = float(np.sqrt(np.mean(np.square(values)))) or 1.0
    return np.clip(values / size, -60000, 60000).astype(np.float16)


@dataclass(frozen=True, eq=False)
class ReducedOutputs:
    """A network's outputs in little, in place of its outputs [images, …]: what scores predict, and what is said about them."""

    rows: Array
    classes: Index | None
    images: int
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, images: Index) -> ReducedOutputs:
        grid = self.rows.reshape(self.images, -1, self.rows.shape[1])[images]
        classes = None if self.classes is None else self.classes[images]
        return ReducedOutputs(grid.reshape(-1, self.rows.shape[1]), classes, len(grid), self.remarks)

    def as_target(self) -> TargetOutputs:
        """The outputs to predict. Raises ConfigError where they do not vary."""
        return TargetOutputs.of_rows(self.rows, self.images)

    def as_answers(self) -> Answers:
        """The answers to agree with. Raises ConfigError where they do not vary."""
        return Answers.of_parts(self.classes, self.as_target() if self.classes is None else None)


@dataclass(frozen=True, eq=False)
class ReducedFeatures:
    """An encoder's features in little of some `images`, intp [any number], without those channels that were left out.

    `rows` are float32 [all images, columns] of an encoder without positions. Of one with positions, they are the averages over
    2 × 2 positions, float64 [all images, channels, 2, 2], of what `reduced` has as levels.
    """

    reduced: Reduced
    rows: NDArray[Any]
    images: Index

    @classmethod
    def of(cls, reduced: Reduced) -> ReducedFeatures | None:
        """The features of all images; None where there are none."""
        images = np.arange(len(reduced.order))
        if reduced.features is not None:
            return cls(reduced, reduced.features.astype(np.float32), images)
        if reduced.levels is None or reduced.scales is None:
            return None
        pooled = [average_pool(widen_levels(reduced, slice(i, i + _FEW)), (2, 2)) for i in range(0, len(images), _FEW)]
        return cls(reduced, np.concatenate(pooled), images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, images: Index) -> ReducedFeatures:
        return replace(self, images=self.images[images])

    def average(self) -> NDArray[Any]:
        """The features averaged over positions: float [images, columns]."""
        return (self.rows if self.reduced.levels is None else self.rows.mean(axis=(2, 3)))[self.images]


def widen_levels(reduced: Reduced, images: Index | slice) -> NDArray[np.float32]:
    """Return features with positions of some `images` as numbers: float32 [images, channels, side, side]."""
    assert reduced.levels is not None
    assert reduced.scales is not None
    values = reduced.levels[images].astype(np.float32)
    values *= reduced.scales[:, None, None]
    return values


class ReducedSource(SourceFeatures):
    """Features in little, prepared to predict any target's outputs. Raises ConfigError.

    `folds`, intp [images], is the fold of each image.
    """

    def __init__(self, features: ReducedFeatures, folds: Index | None) -> None:
        super().__init__(features.rows[features.images], folds, features.reduced.channels)
        self.features = features

    @cached_property
    def neighbourhood_rows(self) -> Array | None:
        """The 3 × 3 neighbourhood of each image and position as a row; None where there are no positions."""
        levels = self.features.reduced.levels
        return None if levels is None else unfold_features(widen_levels(self.features.reduced, self.features.images))


@dataclass(frozen=True, eq=False)
class ReducedArrays:
    """A fingerprint's features and outputs in little as the files of a model, `all_pairs.Arrays`, that scores load."""

    reduced: Reduced

    @property
    def lost(self) -> dict[str, str]:
        """The reason for each kind that is missing."""
        return dict(self.reduced.lost)

    @property
    def features(self) -> bool | None:
        """Whether there are features; None where there are not."""
        return True if self.reduced.features is not None or self.reduced.levels is not None else None

    @property
    def coarse(self) -> bool:
        """Whether its features predict answers per image only."""
        return self.reduced.detail != "pictures"

    @property
    def ranks(self) -> bool:
        """Whether it has outputs or features, by which sources are ranked otherwise than by maps."""
        return self.reduced.answers is not None or self.reduced.similarities is not None

    def load(self, kind: str) -> Any:
        """`ReducedFeatures`, `ReducedOutputs`, or None."""
        if kind == "features":
            return self._features
        return self._load_outputs() if kind == "outputs" else None

    @cached_property
    def _features(self) -> ReducedFeatures | None:
        return ReducedFeatures.of(self.reduced)

    def _load_outputs(self) -> ReducedOutputs | None:
        answers, classes = self.reduced.answers, self.reduced.classes
        if answers is None:
            return None
        images = len(self.reduced.order)
        return ReducedOutputs(
            answers.astype(np.float64), None if classes is None else classes.astype(np.intp), images, self.reduced.remarks
        )

    def load_similarities(self) -> Array | None:
        """The matrix of `centred_similarities`, float64 [images, images]."""
        if self.reduced.similarities is None:
            return None
        images = len(self.reduced.order)
        matrix = np.zeros((images, images))
        matrix[np.triu_indices(images)] = self.reduced.similarities
        matrix += np.triu(matrix, 1).T
        return np.asarray(matrix / np.linalg.norm(matrix))


def arrays_of(fingerprint: Fingerprint) -> Arrays | ReducedArrays:
    """What scores load of a model that is known by its fingerprint: features and outputs in little, or nothing."""
    return Arrays() if fingerprint.reduced is None else ReducedArrays(fingerprint.reduced)
