"""How well a source's features predict, linearly, what the target's own network makes of unlabelled images.

`predictivity` is the tool's score. Beside it stand variants: the target's features in place of its outputs, and readouts of
single positions. The target's network stands for labels: this is the transfer itself, with a readout in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.cache import Arrays
from models.minitaskonomy.study.attribution_targets import compute_scales
from models.minitaskonomy.study.features import Features, load_features
from models.minitaskonomy.zoo import Zoo, arrange_on_grid
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.probes import Probes
from onnxspace.scores import linear_probe, logme
from onnxspace.scores.directed import Comparison, predictivities
from onnxspace.scores.grids import average_pool, to_channels_first, unfold_neighbourhoods
from onnxspace.scores.pairs.predictivity import TargetOutputs
from onnxspace.scores.pairs.readout import explained_shares

Table = NDArray[np.float64]
SIDE = 8
#: Numbers of images at which outputs are predicted: those of more would fill the disk.
NUMBERS = (16, 32, 64, 128, 256)
VARIANTS = (64, 256)
#: Patches of pictures that scores of labels are given: the probe's cost grows with the cube of their number.
PATCHES = 1600


def compute_predictions(zoo: Zoo, probes: Probes) -> Arrays:
    """Shares explained, float64, `words@images`: [models, models] of predictivity, [targets, models] of its variants."""
    features, outputs = load_features(zoo, probes), load_outputs(zoo, probes)
    found: Arrays = {}
    for images in (n for n in NUMBERS if n <= len(probes)):
        found[f"predictivity@{images}"] = compute_predictivity(zoo, features, outputs, images)
        if images in VARIANTS:
            found |= {
                f"{words}@{images}": shares for words, shares in _compute_variants(zoo, features, outputs, images).items()
            }
    return found


def compute_predictivity(zoo: Zoo, features: Sequence[Features], outputs: Sequence[Features], images: int) -> Table:
    """As the tool computes it: float64 [models, models], NaN in the rows of models that are no targets."""
    ends = iter(outputs)
    sides = [(next(ends)[:images] if main else None, values[:images]) for values, main in zip(features, zoo.main, strict=True)]
    return predictivities(sides, Comparison(zoo.names)).matrix


def _compute_variants(zoo: Zoo, features: Sequence[Features], outputs: Sequence[Features], images: int) -> dict[str, Table]:
    """Shares explained, float64 [targets, models]."""
    grids = [arrange_on_grid(np.asarray(values[:images]), SIDE).astype(np.float64) for values in features]
    there = [flatten_grid(values) for values, main in zip(grids, zoo.main, strict=True) if main]
    held = {"predicts features": there, "predicts scaled features": [_scale(rows) for rows in there]}
    ends = [TargetOutputs.of(np.asarray(values[:images])) for values in outputs]
    found: dict[str, Table] = {}
    for end, design in (("", flatten_grid), (" from 3 x 3", unfold_neighbourhoods)):
        asked = [rows for some in held.values() for rows in some]
        shares = np.array([explained_shares(design(values), asked, images) for values in grids]).T
        found |= {words + end: part for words, part in zip(held, shares.reshape(len(held), -1, len(grids)), strict=True)}
    found["predicts outputs"] = np.array([_predict_outputs(values, ends, images) for values in grids]).T
    return found


def _predict_outputs(values: Table, ends: Sequence[TargetOutputs], images: int) -> list[float]:
    """One source against every target's outputs: pictures position by position, others from means over a 2 × 2 grid."""
    found = np.empty(len(ends))
    for dense, rows in ((True, flatten_grid(values)), (False, average_pool(values, (2, 2)).reshape(len(values), -1))):
        places = [i for i, one in enumerate(ends) if one.dense is dense]
        if places:
            found[places] = explained_shares(rows, [ends[i].rows for i in places], images)
    return found.tolist()


def flatten_grid(values: NDArray[np.floating]) -> Table:
    """Positions as rows: [images · positions, channels] of [images, channels, height, width]."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1]).astype(np.float64)


def average_patches(outputs: NDArray[np.floating]) -> Table:
    """The mean of each position's square of pixels: [images · positions, channels]."""
    return flatten_grid(average_pool(to_channels_first(outputs), (SIDE, SIDE)))


def draw_patches(count: int) -> NDArray[np.intp]:
    """Rows of some of `count` patches, the same for every source."""
    return np.sort(np.random.default_rng(0).permutation(count)[:PATCHES])


def load_outputs(zoo: Zoo, probes: Probes) -> list[Features]:
    """Each target's own outputs on the first images, at most 16,384 numbers of each."""
    return load_features(zoo, Probes(probes.name, np.ascontiguousarray(probes.images[: max(NUMBERS)])), "output")


def _scale(rows: Table) -> Table:
    found: Table = (rows - rows.mean(axis=0)) * compute_scales(rows)
    return found


def score_outputs(zoo: Zoo, probes: Probes, images: int = 64) -> Arrays:
    """`linear_probe` and `logme` of the tool with the target's own outputs, or patch means of them, as labels."""
    grids = [arrange_on_grid(np.asarray(values[:images]), SIDE) for values in load_features(zoo, probes)]
    outputs = [np.asarray(values[:images]) for values in load_outputs(zoo, probes)]
    found = {
        f"{name.__name__} to outputs@{images}": np.full((len(outputs), len(grids)), np.nan) for name in (linear_probe, logme)
    }
    for row, values in enumerate(outputs):
        labels = average_patches(values) if values.ndim == 4 else values.reshape(len(values), -1).astype(np.float64)
        labels = (labels - labels.mean(axis=0)) * compute_scales(labels)
        for column, features in enumerate(grids):
            rows = flatten_grid(features) if values.ndim == 4 else features.mean(axis=(2, 3))
            some = draw_patches(len(rows))
            for score in (linear_probe, logme):
                found[f"{score.__name__} to outputs@{images}"][row, column] = _score_or_nan(score, rows[some], labels[some])
    return found


def _score_or_nan(score: object, rows: NDArray[np.floating], labels: Table) -> float:
    try:
        return float(score(rows, labels, "regression"))  # type: ignore[operator]
    except OnnxspaceError:
        return float("nan")
