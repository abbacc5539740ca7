"""Scores that see a few labels, beside those that see none: the same rooms, tasks and inputs as the oracle's readouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.cache import Arrays
from models.minitaskonomy.study.features import load_features
from models.minitaskonomy.study.prediction import SIDE, average_patches, draw_patches, flatten_grid
from models.minitaskonomy.tasks import Task
from models.minitaskonomy.zoo import Zoo, arrange_on_grid
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.probes import Probes
from onnxspace.scores import gbc, h_score, knn, lfc, linear_probe, logme, nleep, parc, sfda, transrate

ROOMS = 200
Score = Callable[..., float]
OF_ALL: dict[str, Score] = {"linear_probe": linear_probe, "logme": logme}
OF_CLASSES: dict[str, Score] = {
    "sfda": sfda, "h_score": h_score, "nleep": nleep, "transrate": transrate, "gbc": gbc, "parc": parc, "lfc": lfc, "knn": knn,
}  # fmt: skip


def compute_label_scores(zoo: Zoo, tasks: Mapping[str, Task], rooms: Any, count: int = ROOMS) -> Arrays:
    """Values float64 [targets, models] by score; NaN where a score does not take a task's labels.

    `rooms` is the split whose first `count` rooms have labels.
    """
    names = {f"{name}@{count}": np.full((len(zoo.targets), len(zoo.entries)), np.nan) for name in (*OF_ALL, *OF_CLASSES)}
    for row, target in enumerate(zoo.targets):
        task = tasks[target]
        images = np.ascontiguousarray(np.asarray(rooms.inputs(task)[:count]).transpose(0, 2, 3, 1))
        labels = np.asarray(rooms.targets(task)[:count])
        for column, values in enumerate(load_features(zoo, Probes(f"labelled {target}", images))):
            for name, value in score_labels(arrange_on_grid(np.asarray(values), SIDE), labels, task.kind).items():
                names[f"{name}@{count}"][row, column] = value
    return names


def score_labels(features: NDArray[np.float32], labels: NDArray[Any], kind: str) -> dict[str, float]:
    """Every score that takes the labels of a task of this kind, for features [images, channels, side, side]."""
    if kind == "image":
        return _score_patches(OF_ALL, flatten_grid(features), average_patches(labels), "regression")
    if kind == "vector":
        return _score_each(OF_ALL, features.reshape(len(features), -1), labels.astype(np.float64), "regression")
    if kind == "classes":
        return _score_each({**OF_ALL, **OF_CLASSES}, features.mean(axis=(2, 3)), labels, "classes")
    rows, shares = flatten_grid(features), average_patches(encode_one_hot(labels))
    found = _score_patches(OF_ALL, rows, shares, "regression")
    return found | _score_patches(OF_CLASSES, rows, shares.argmax(axis=1), "classes")


def _score_patches(some: Mapping[str, Score], rows: NDArray[Any], labels: NDArray[Any], kind: str) -> dict[str, float]:
    drawn = draw_patches(len(rows))
    return _score_each(some, rows[drawn], labels[drawn], kind)


def encode_one_hot(labels: NDArray[Any]) -> NDArray[np.float32]:
    """float32 [images, classes, height, width] of class numbers [images, height, width]; negative ones are of no class."""
    there = labels[..., None] == np.arange(int(labels.max()) + 1)
    found: NDArray[np.float32] = np.moveaxis(there, -1, 1).astype(np.float32)
    return found


def _score_each(some: Mapping[str, Score], rows: NDArray[Any], labels: NDArray[Any], kind: str) -> dict[str, float]:
    found = {}
    for name, score in some.items():
        try:
            found[name] = float(score(rows, labels, kind) if name in OF_ALL else score(rows, labels))
        except (OnnxspaceError, np.linalg.LinAlgError):
            found[name] = float("nan")
    return found
