"""From the pieces to scores: one matrix [targets, sources] each, larger is better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.minitaskonomy.cache import Arrays
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT, Job
from models.minitaskonomy.study.map_similarity import subtract_common, unpack_pairs
from models.minitaskonomy.zoo import Zoo
from onnxspace.scores.all_pairs import balancing_weight

Values = NDArray[np.float64]
#: `maps` and `features` compare two models, `both` mixes the two, `prediction` has the target's network as teacher; none of them
#: sees a label. `beside` are baselines, `labels` sees labels.
Kind = Literal["maps", "features", "both", "prediction", "beside", "labels"]
LABEL_FREE: tuple[Kind, ...] = ("maps", "features", "both", "prediction")
NUMBERS = (8, 16, 32, 64, 128, 256, 512)
LAMBDAS = (0.03, 0.1, 0.25, 0.27, 0.5, 1.0, 2.0, 4.0, 10.0)
COMMON = "less the models' mean map"
DEFAULT_PROBE = "generated, 224 px"


@dataclass(frozen=True, eq=False)
class Score:
    """`values` float64 [targets, sources], NaN where there is none; `images` 0 where that means nothing."""

    kind: Kind
    name: str
    options: str
    probe: str
    images: int
    values: Values

    @property
    def label(self) -> str:
        """The score in words, without its images."""
        return f"{self.name}, {self.options}" if self.options else self.name


def read_scores(job: Job, arrays: Arrays, zoo: Zoo) -> list[Score]:
    """All scores that a piece holds."""
    if job.kind == "maps":
        found = list(_read_maps(job, arrays, zoo))
    elif job.kind == "default":
        gram, images = unpack_pairs(arrays[AFFINITY], len(zoo.entries)).mean(axis=0), len(arrays[AFFINITY])
        found = [Score("maps", AFFINITY, "", DEFAULT_PROBE, images, gram)]
        found += [Score("prediction", DEFAULT, "", DEFAULT_PROBE, images, arrays[DEFAULT])]
        found += [
            Score("maps", "fingerprint", words.split()[1], DEFAULT_PROBE, images, values)
            for words, values in arrays.items() if words.startswith("fingerprint")
        ]  # fmt: skip
    elif job.kind == "layers":
        found = list(_read_layers(job, arrays, zoo))
    elif job.kind == "features":
        found = []
    else:
        kind: Kind = {"labelled": "labels", "predicting": "prediction", "by tool": "prediction"}.get(job.kind, "features")  # type: ignore[assignment]
        found = [_read_plain(kind, words, values, job.probe, zoo) for words, values in arrays.items()]
    return [replace(one, values=select_targets(one.values, zoo)) for one in found]


def _read_plain(kind: Kind, words: str, values: NDArray[Any], probe: str, zoo: Zoo) -> Score:
    name, _, images = words.partition("@")
    name, _, options = name.partition(" ") if kind == "features" else (name, "", "")
    if values.ndim == 1:
        values = np.broadcast_to(values, (len(zoo.targets), len(values)))
    return Score(kind, name.rstrip(","), options, probe, int(images), values.astype(np.float64))


def select_targets(values: Values, zoo: Zoo) -> Values:
    """Rows of the targets, columns of all models: what has no value, and a target for itself, is NaN."""
    count, rows = len(zoo.entries), np.flatnonzero(zoo.main)
    found = np.full((len(rows), count), np.nan)
    found[:, : values.shape[1]] = values if len(values) == len(rows) else values[rows]
    found[np.arange(len(rows)), rows] = np.nan
    return found


def _read_maps(job: Job, arrays: Arrays, zoo: Zoo) -> Iterator[Score]:
    for words, pairs in arrays.items():
        name, _, options = words.partition(" ")
        name, options = name.rstrip(","), options.replace("from zero", "").replace(" ,", ",").strip(", ")
        gram = unpack_pairs(pairs, len(zoo.entries))
        for said, values in ((options, gram), (", ".join(filter(None, (options, COMMON))), subtract_common(gram, zoo.main))):
            for images in _choose_numbers(len(values), some="," in words):
                yield Score("maps", name, said, job.probe, images, values[:images].mean(axis=0))


def _choose_numbers(there: int, some: bool) -> list[int]:
    """Numbers of images at which a score is taken; only two of them for changed maps."""
    wanted = [n for n in NUMBERS if n <= there] or [there]
    return sorted({min(64, there), wanted[-1]}) if some else wanted


def _read_layers(job: Job, arrays: Arrays, zoo: Zoo) -> Iterator[Score]:
    for words, values in arrays.items():
        images, main = len(values), int(zoo.main.sum())
        matrix = values.astype(np.float64).mean(axis=0) if values.ndim == 3 else None
        if matrix is None:
            matrix = unpack_pairs(
                values.mean(axis=0, dtype=np.float64), main if words.startswith("layer") else len(zoo.entries)
            )
        yield Score(
            "maps", "gradient-x-input", f"at {words}" if words != "encoder to output" else words, job.probe, images, matrix
        )


def mix_depara(scores: Sequence[Score], zoo: Zoo) -> Iterator[Score]:
    """S_V + λ S_E from the maps by gradient × input and by ε-LRP, and the edges, of equal images."""
    edges = {(one.probe, one.images): one.values for one in scores if one.name == "edges" and not one.options}
    for one in scores:
        if one.kind != "maps" or one.options or one.name not in ("gradient-x-input", "elrp"):
            continue
        if (other := edges.get((one.probe, one.images))) is None:
            continue
        rows = np.flatnonzero(zoo.main)
        square = one.values[:, rows], other[:, rows]
        weights: dict[str, float | None] = {
            **{f"λ {weight:g}": weight for weight in LAMBDAS},
            "λ auto": balancing_weight(*square),
        }
        by = "" if one.name == "gradient-x-input" else ", maps by elrp"
        for words, weight in weights.items():
            if weight is not None:
                yield Score("both", "depara", words + by, one.probe, one.images, one.values + weight * other)


def average_ranks(scores: Sequence[Score], images: int) -> Iterator[Score]:
    """Mean ranks of two or three scores of a few kinds, by the same images."""
    wanted = {
        ("elrp", ""): "elrp", ("elrp", f"absolute, 8 x 8, {COMMON}"): "elrp regions", ("cka", ""): "cka", ("rsa", ""): "rsa",
        ("dds", ""): "dds", ("svcca", ""): "svcca", ("predictivity", ""): "predictivity",
    }  # fmt: skip
    for probe in dict.fromkeys(one.probe for one in scores):
        there = {
            wanted[one.name, one.options]: one for one in scores
            if one.probe == probe and one.images == images and (one.name, one.options) in wanted
        }  # fmt: skip
        for count in (2, 3):
            for names in combinations(there, count):
                kind: Kind = "prediction" if "predictivity" in names else "both"
                values = np.mean([rank(there[name].values) for name in names], axis=0)
                yield Score(kind, "mean rank", " and ".join(names), probe, images, values)


def rank(values: Values) -> Values:
    """Negated ranks of each row's values, ties at their mean, NaN where there is none."""
    found = np.full(values.shape, np.nan)
    for row, kept in enumerate(np.isfinite(values)):
        found[row, kept] = -rankdata(-values[row, kept])
    return found
