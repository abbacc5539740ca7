"""How well a source's features predict, linearly, what the target's own network makes of unlabelled images.

The target's features or outputs stand for labels: this is the transfer itself, with the target's network as teacher and a readout in
closed form. Unlike the scores of pairs it is not symmetric: a source that keeps everything predicts much and is hard to predict.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OnnxspaceError
from onnxspace.probes import Probes
from onnxspace.transfer import linear_probe, logme

from . import explained
from .features import features_of
from .kept import Arrays
from .zoo import Zoo, grid

Table = NDArray[np.float64]
SIDE = 8
RIDGES = (1e-4, 1e-2, 1.0)
#: Numbers of images: outputs of more would fill the disk.
NUMBERS = (64, 256)


class Question(NamedTuple):
    """What is to be predicted: a row per image, or per image and position, and how it is counted."""

    answers: Table
    dense: bool


def neighbourhoods(values: NDArray[np.float32], around: int) -> Table:
    """Rows [images · positions, channels · around²] of features [images, channels, side, side], zeros beyond the border."""
    images, channels, side, _ = values.shape
    edge = around // 2
    padded = np.pad(values, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    parts = [padded[:, :, i : i + side, j : j + side] for i in range(around) for j in range(around)]
    return (
        np.concatenate(parts, axis=1)
        .transpose(0, 2, 3, 1)
        .reshape(images * side * side, channels * around**2)
        .astype(np.float64)
    )


def in_detail(outputs: NDArray[np.float32], columns: int = 64) -> Table:
    """Each position's square of pixels as a row, [images · positions, columns], along its directions of most variance.

    Outputs are [images, channels, height, width], or [images, height, width, channels].
    """
    values = np.moveaxis(outputs, explained.channel_axis(outputs.shape), 1)
    images, channels, height, width = values.shape
    down, across = height // SIDE, width // SIDE
    parts = values[:, :, : down * SIDE, : across * SIDE].reshape(images, channels, SIDE, down, SIDE, across)
    rows = parts.transpose(0, 2, 4, 1, 3, 5).reshape(images * SIDE * SIDE, -1).astype(np.float64)
    centred: Table = rows - rows.mean(axis=0)
    if rows.shape[1] <= columns:
        return centred
    _, vectors = np.linalg.eigh(centred.T @ centred)
    found: Table = centred @ vectors[:, -columns:]
    return found


def patch_means(outputs: NDArray[np.float32]) -> Table:
    """The mean of each position's square of pixels: [images · positions, channels]."""
    values = np.moveaxis(outputs, explained.channel_axis(outputs.shape), 1)
    images, channels, height, width = values.shape
    parts = values.reshape(images, channels, SIDE, height // SIDE, SIDE, width // SIDE).mean(axis=(3, 5))
    found: Table = parts.transpose(0, 2, 3, 1).reshape(-1, channels).astype(np.float64)
    return found


def explained_share(features: Table, questions: Sequence[Table], images: int) -> list[float]:
    """R² of each question over all its columns, by ridge regression on one half of the images for the other, both ways.

    Rows are in the order of `images`, equally many for each. The ridge is the best of three, as shares of the mean eigenvalue.
    """
    first = np.arange(len(features)) < len(features) // images * (images // 2)
    columns = np.cumsum([0, *(one.shape[1] for one in questions)])
    answers = np.concatenate(questions, axis=1)
    missed, there = np.zeros((len(RIDGES), answers.shape[1])), np.zeros(answers.shape[1])
    for train in (first, ~first):
        centre, mean = features[train].mean(axis=0), answers[train].mean(axis=0)
        known, asked = features[train] - centre, features[~train] - centre
        values, vectors = np.linalg.eigh(known.T @ known)
        along = vectors.T @ (known.T @ (answers[train] - mean))
        truth = answers[~train] - mean
        there += np.square(truth).sum(axis=0)
        turned = asked @ vectors
        for place, ridge in enumerate(RIDGES):
            inverse = 1 / (np.maximum(values, 0) + ridge * max(float(values.mean()), 1e-30))
            missed[place] += np.square(truth - turned @ (inverse[:, None] * along)).sum(axis=0)
    parts = [slice(a, b) for a, b in pairwise(columns)]
    return [float(1 - missed[:, part].sum(axis=1).min() / max(float(there[part].sum()), 1e-30)) for part in parts]


def predicting(zoo: Zoo, probes: Probes) -> Arrays:
    """Shares explained, float64 [targets, models], `words@images`: of the target's features and of its outputs."""
    features, outputs = features_of(zoo, probes), outputs_of(zoo, probes)
    found: Arrays = {}
    for images in (n for n in NUMBERS if n <= len(probes)):
        grids = [grid(np.asarray(values[:images]), SIDE) for values in features]
        ends = [np.asarray(values[:images]) for values in outputs]
        there = [values for values, main in zip(grids, zoo.main, strict=True) if main]
        asked = {
            "features": [Question(neighbourhoods(values, 1), True) for values in there],
            "scaled features": [Question(_scaled(neighbourhoods(values, 1)), True) for values in there],
            "outputs": [question(values) for values in ends],
        }
        flat = [one for questions in asked.values() for one in questions]
        for around in (1, 3):
            shares = np.array([_shares(values, flat, around) for values in grids]).T.reshape(len(asked), len(ends), len(grids))
            end = " from 3 x 3" if around == 3 else ""
            found |= {f"predicts {words}{end}@{images}": part for words, part in zip(asked, shares, strict=True)}
    return found


def outputs_of(zoo: Zoo, probes: Probes) -> list[NDArray[np.float32]]:
    """Each target's own outputs on the first images."""
    return features_of(zoo, Probes(probes.name, np.ascontiguousarray(probes.images[: max(NUMBERS)])), "output")


def question(outputs: NDArray[np.float32]) -> Question:
    """A network's output as something to be predicted: in detail where it is a picture."""
    if outputs.ndim == 4:
        return Question(in_detail(outputs), True)
    return Question(outputs.reshape(len(outputs), -1).astype(np.float64), False)


def _scaled(rows: Table) -> Table:
    found: Table = (rows - rows.mean(axis=0)) * explained.scales(rows)
    return found


def _shares(values: NDArray[np.float32], questions: Sequence[Question], around: int) -> list[float]:
    """One source against every question: dense ones position by position, others from means over a 2 × 2 grid."""
    coarse = values.reshape(*values.shape[:2], 2, SIDE // 2, 2, SIDE // 2).mean(axis=(3, 5)).reshape(len(values), -1)
    found = np.empty(len(questions))
    for dense, rows in ((True, neighbourhoods(values, around)), (False, coarse.astype(np.float64))):
        places = [i for i, one in enumerate(questions) if one.dense is dense]
        if places:
            found[places] = explained_share(rows, [questions[i].answers for i in places], len(values))
    return found.tolist()


def by_tool(zoo: Zoo, probes: Probes, images: int = 64) -> Arrays:
    """`linear_probe` and `logme` of the tool with the target's own outputs, or patch means of them, as labels."""
    grids = [grid(np.asarray(values[:images]), SIDE) for values in features_of(zoo, probes)]
    outputs = [np.asarray(values[:images]) for values in outputs_of(zoo, probes)]
    found = {
        f"{name.__name__} to outputs@{images}": np.full((len(outputs), len(grids)), np.nan) for name in (linear_probe, logme)
    }
    for row, values in enumerate(outputs):
        labels = patch_means(values) if values.ndim == 4 else values.reshape(len(values), -1).astype(np.float64)
        labels = (labels - labels.mean(axis=0)) * explained.scales(labels)
        for column, features in enumerate(grids):
            rows = neighbourhoods(features, 1) if values.ndim == 4 else features.mean(axis=(2, 3))
            for score in (linear_probe, logme):
                found[f"{score.__name__} to outputs@{images}"][row, column] = _or_nan(score, rows, labels)
    return found


def _or_nan(score: object, rows: NDArray[np.floating], labels: Table) -> float:
    try:
        return float(score(rows, labels, "regression"))  # type: ignore[operator]
    except OnnxspaceError:
        return float("nan")
