"""The networks in models/: what the manifest says is true, and the program's maps are those of their frameworks."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.attribution.maps import Method
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import open_model
from onnxspace.workflows.score import score
from tests.helpers.nets import worst_cosine
from tests.helpers.paths import REPOSITORY

MODELS = REPOSITORY / "models"
MANIFEST: list[dict[str, Any]] = json.loads((MODELS / "manifest.json").read_text("utf-8"))["models"]
NAMES = [entry["name"] for entry in MANIFEST]


@pytest.fixture(scope="module")
def native() -> dict[str, NDArray[Any]]:
    with np.load(MODELS / "native_maps.npz", allow_pickle=False) as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def affinity() -> ox.Affinity:
    return score(sorted(MODELS.glob("*.onnx")), ox.Probes.generate(16))


def test_the_manifest_lists_the_files_with_their_digests() -> None:
    assert sorted(entry["file"] for entry in MANIFEST) == sorted(p.name for p in MODELS.glob("*.onnx"))
    for entry in MANIFEST:
        assert hashlib.sha256((MODELS / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert 8 <= len(MANIFEST) <= 12
    assert sum(p.stat().st_size for p in MODELS.glob("*.onnx")) < 12 * 10**6
    assert len({entry["framework"] for entry in MANIFEST}) >= 3


@pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
def test_what_is_inferred_is_what_the_manifest_says(entry: dict[str, Any]) -> None:
    model = open_model(MODELS / entry["file"])
    assert find_encoder(model).tensors == (entry["encoder"],)
    said, used = entry["preprocessing"], model.preprocess
    assert [used.height, used.width] == said["size"]
    assert (used.layout, used.color) == (said["layout"], said["color"].upper().replace("GRAY", "GREY"))
    everything = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(used.channels, axis=3)
    stated = Preprocess(16, 16, used.layout, used.color, "squash", *[eval_number(said[k]) for k in ("scale", "mean", "std")])
    np.testing.assert_allclose(used.values(everything), stated.values(everything), rtol=1e-5, atol=1e-5)


def eval_number(value: Any) -> Any:
    """Manifest numbers: plain, a fraction in quotes, or one per channel."""
    if isinstance(value, str):
        parts = [float(part) for part in value.split("/")]
        return parts[0] / parts[1] if len(parts) == 2 else parts[0]
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("entry", MANIFEST, ids=NAMES)
@pytest.mark.parametrize("method", ["saliency", "gradient-x-input"])
def test_maps_equal_those_of_the_native_framework(
    entry: dict[str, Any], method: Method, native: dict[str, NDArray[Any]]
) -> None:
    """PyTorch's autograd, Keras' gradient tape, JAX' grad, on the same weights and images."""
    model = open_model(MODELS / entry["file"])
    expected = native[f"{entry['name']}/{method.replace('-', '_')}"]
    images = native["images"]
    found = ox.attribute(model, ox.Probes("native", images), method)
    rows, columns = model.preprocess.inverse(images.shape[1])
    assert worst_cosine(found, rows @ expected @ columns.T) >= 0.9999


def test_one_network_from_two_frameworks_has_affinity_one(affinity: ox.Affinity) -> None:
    torch_, keras = affinity.names.index("shapes-torch"), affinity.names.index("shapes-keras")
    assert affinity.matrix[torch_, keras] >= 0.9999


def test_related_networks_rank_first(affinity: ox.Affinity) -> None:
    """The networks of most affinity are those that the manifest calls related, and digits are related to nothing."""
    assert affinity.failed == ()
    for entry in MANIFEST:
        related = set(entry["related"])
        first = [source for source, _ in affinity.rank(entry["name"], "attribution").sources[: len(related)]]
        assert set(first) == related, entry["name"]
    assert max(a for _, a in affinity.rank("digits-torch", "attribution").sources) < 0.05


def test_the_networks_were_trained() -> None:
    for entry in MANIFEST:
        assert entry["metric"]["value"] > 2 * max(entry["metric"]["chance"], 0.05), entry["name"]
