"""Scores of two models from what their encoders compute, by the functions of `onnxspace.scores`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.cache import Arrays
from models.minitaskonomy.study import attribution_targets
from models.minitaskonomy.zoo import Zoo
from onnxspace.attribution.gradient_fields import METHOD, SIZE, write_fields
from onnxspace.inputs.execution import Device, Execution
from onnxspace.inputs.methods import Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.features import features_key, write_features
from onnxspace.model.outputs import find_float_outputs
from onnxspace.scores import cka, dds, modelgif, rsa, svcca
from onnxspace.scores.all_pairs import left_singular_vectors, score_pairs
from onnxspace.scores.pairs.depara import edges

Features = NDArray[np.float32]
#: Numbers of images at which scores of features are taken, as far as a probe set goes.
NUMBERS = (16, 64, 128, 512)
#: Images, and points of the path, of ModelGiF's fields: 128 × 128 numbers for each.
FIELD_IMAGES, FIELD_STEPS = 32, 10


def load_features(zoo: Zoo, probes: Probes, end: str = "encoder") -> list[Features]:
    """Each model's features at its encoder, or each target's outputs: float32 [images, …], memory-mapped from the work folder."""
    folder = zoo.work / "features"
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for entry in (one for one in zoo.entries if one.main or end == "encoder"):
        model, encoder = zoo.open(entry)
        if end == "output":
            encoder = find_float_outputs(model)
        file = folder / f"{features_key(model, encoder.tensors, 'fit', probes.sha256)}.npy"
        if not _is_complete(file, len(probes)):
            write_features(model, encoder, probes.images, file, "fit")
        found.append(np.load(file, mmap_mode="r", allow_pickle=False))
    return found


def _is_complete(file: Path, images: int) -> bool:
    try:
        return len(np.load(file, mmap_mode="r", allow_pickle=False)) == images
    except (OSError, ValueError, EOFError):
        return False


def average_positions(values: Features) -> Features:
    """Means over positions: [images, channels]."""
    axis = attribution_targets.find_channel_axis(values.shape)
    found: Features = values.mean(axis=tuple(i for i in range(1, values.ndim) if i != axis), dtype=np.float32)
    return found


def flatten_positions(values: Features) -> Features:
    """Positions as samples: [images · positions, channels]."""
    return attribution_targets.flatten_channels(values, attribution_targets.find_channel_axis(values.shape)).astype(np.float32)


Prepare = Callable[[Features], NDArray[Any]]
Score = Callable[..., float]


def _keep(values: Features) -> Features:
    return values


#: By the variant's words: the score, what is done to features first, and at most how many images it is taken at.
PAIRS: dict[str, dict[str, tuple[Score, Prepare, int]]] = {
    "rsa": {"rsa": (rsa, _keep, 512), "rsa of means": (rsa, average_positions, 512)},
    "svcca": {
        "svcca": (partial(svcca, variance=1.0), lambda values: left_singular_vectors(flatten_positions(values)), 128),
        "svcca of means": (partial(svcca, variance=1.0), lambda values: left_singular_vectors(average_positions(values)), 512),
    },
    "cka": {
        "cka": (cka, _keep, 512),
        "cka of means": (cka, average_positions, 512),
        "cka of positions": (cka, flatten_positions, 128),
        "cka, biased": (partial(cka, unbiased=False), _keep, 128),
        "cka, rbf": (partial(cka, kernel="rbf"), _keep, 128),
    },
    "dds": {
        "dds": (dds, _keep, 512),
        "dds of means": (dds, average_positions, 512),
        "dds, laplacian": (partial(dds, kernel="laplacian"), _keep, 128),
        "dds, gaussian": (partial(dds, kernel="gaussian"), _keep, 128),
    },
    "edges": {"edges": (edges, _keep, 512), "edges of means": (edges, average_positions, 512)},
}


def compute_pair_scores(name: str, zoo: Zoo, probes: Probes) -> Arrays:
    """Matrices [models, models] of one of `PAIRS` at every number of images, `words@images`."""
    features = load_features(zoo, probes)
    found: Arrays = {}
    for words, (score, prepare, most) in PAIRS[name].items():
        for images in (n for n in NUMBERS if n <= min(len(probes), most) and n > 16 * words.startswith("svcca")):
            sides = [[prepare(np.asarray(values[:images]))] for values in features]
            scored = score_pairs(score, sides, zoo.names)
            if np.isfinite(scored.matrix).any():
                found[f"{words}@{images}"] = scored.matrix
    return found


def measure_dimensions(zoo: Zoo, probes: Probes) -> Arrays:
    """What a source's features are by themselves, float64 [models]: how many directions they use."""
    found: dict[str, list[float]] = {"effective-rank": [], "participation-ratio": []}
    for values in load_features(zoo, probes):
        rows = flatten_positions(np.asarray(values))
        shares = np.linalg.eigvalsh(np.cov(rows.T.astype(np.float64))).clip(0)
        shares = shares / max(float(shares.sum()), 1e-30)
        some = shares[shares > 0]
        found["effective-rank"].append(float(np.exp(-(some * np.log(some)).sum())))
        found["participation-ratio"].append(float(1 / np.square(shares).sum()))
    return {f"{words}@{len(probes)}": np.array(values) for words, values in found.items()}


def compare_fields(zoo: Zoo, probes: Probes, device: Device) -> Arrays:
    """ModelGiF of every two models, on few images and steps."""
    some = Probes(probes.name, np.ascontiguousarray(probes.images[:FIELD_IMAGES]))
    with tempfile.TemporaryDirectory(dir=zoo.work) as folder:
        files = [Path(folder, f"{place}.npy") for place in range(len(zoo.entries))]
        for entry, file in zip(zoo.entries, files, strict=True):
            model, encoder = zoo.open(entry)
            write_fields(model, encoder, Setup(some, METHOD, Options(steps=FIELD_STEPS)), file, Execution.on(device))
        sides = [[np.load(file, mmap_mode="r").reshape(len(some), FIELD_STEPS, SIZE * SIZE)] for file in files]
        return {f"modelgif@{len(some)}": score_pairs(modelgif, sides, zoo.names).matrix}
