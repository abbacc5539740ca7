"""How certain rankings are, by features and outputs in little and by whole ones: trained networks on rooms of their kind."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.minitaskonomy.rooms.dataset import render_batch
from onnxspace.inputs.config import Config
from onnxspace.model.features import write_features
from onnxspace.model.outputs import find_float_outputs
from onnxspace.scores.all_pairs import Arrays
from onnxspace.scores.folds import Index, hash_images, order_by_content
from onnxspace.scores.reduce import ReducedArrays, reduce_arrays
from onnxspace.scores.selection import MEAN_RANK, USUAL, ScoreSelection
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import estimate_certainty
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.regular_files import map_array
from onnxspace.workflows.child.open import prepare_model
from onnxspace.workflows.rank import Shares, add_scores
from tests.helpers.paths import REPOSITORY

#: Networks with outputs per image, which are the targets, and others.
TARGETS, SOURCES, IMAGES = ("layout", "object", "scene"), ("depth", "edges2d", "semantic"), 48


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = render_batch(3, range(IMAGES))["image"]
    return found


@pytest.fixture(scope="module")
def whole(images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Arrays]:
    """Features and outputs of the targets, and features of the others, so that they are no targets."""
    folder, found = tmp_path_factory.mktemp("features"), {}
    for name in (*TARGETS, *SOURCES):
        one = prepare_model(REPOSITORY / f"models/minitaskonomy/{name}.onnx", name, None, Config())
        features, outputs = folder / f"{name}.features.npy", folder / f"{name}.outputs.npy"
        write_features(one.model, one.encoder, images, features, "fit")
        if name in TARGETS:
            write_features(one.model, find_float_outputs(one.model), images, outputs, "fit")
        found[name] = Arrays(features=features, outputs=outputs if name in TARGETS else None)
    return found


def reduce(one: Arrays, order: Index, detail: str) -> ReducedArrays:
    features, outputs = (None if path is None else map_array(path) for path in (one.features, one.outputs))
    return ReducedArrays(reduce_arrays(detail, order, features, outputs, {}))  # type: ignore[arg-type]


def score(models: dict[str, Arrays] | dict[str, ReducedArrays], order: Index) -> tuple[Affinity, Shares]:
    records = tuple(ModelRecord(name, f"{name}.onnx", "0" * 64, "t", "", 17, "") for name in models)
    probe = {"name": "rooms", "images": IMAGES, "size": 64, "sha256": "0" * 64}
    found = Affinity(records, np.eye(len(models)), "saliency", probe, evidence="pictures")
    return add_scores(found, ScoreSelection(USUAL, ranks=MEAN_RANK, usual=True, certain=True), list(models.values()), order)


@pytest.mark.parametrize("detail", ["images", "pictures"])
def test_shares_of_resamples_are_those_of_whole_features(
    whole: dict[str, Arrays], images: NDArray[np.uint8], detail: str
) -> None:
    """How often a source is ahead of the next in the ranking by whole features, in the same resamples."""
    order = order_by_content(hash_images(images))
    found, shares = score(whole, order)
    _, other = score({name: reduce(one, order, detail) for name, one in whole.items()}, order)
    gaps = []
    for place, target in enumerate(TARGETS):
        one, little = (estimate_certainty(found.rank(target), found.names, each[place]) for each in (shares, other))
        pairs = list(zip(one.sources, little.sources, strict=True))
        gaps += [abs(a.ahead - b.ahead) for a, b in pairs if a.ahead is not None and b.ahead is not None]
    assert np.mean(gaps) < 0.05
    assert max(gaps) < 0.1
    assert len(gaps) == len(TARGETS) * (len(whole) - 2)
