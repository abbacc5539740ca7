"""Scores against reference values made elsewhere, within 1e-6; features in half and single precision lose little."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.datasets import load_iris

from onnxspace import scores
from onnxspace.scores.labelled.h_score import ledoit_wolf_shrinkage
from onnxspace.scores.labelled.logme import log_evidence
from onnxspace.scores.labelled.sfda import shrinkage_of
from tests.oracles import transfer as slow

VALUES = json.loads((Path(__file__).parent / "reference_values.json").read_text("utf-8"))["values"]


def synthetic() -> dict[str, NDArray[Any]]:
    """60 images of 3 classes: features [60, 8] and [60, 6], and probabilities of 5 source classes."""
    i, labels = np.arange(60)[:, None] + 1, np.arange(60) % 3
    mine = labels[:, None]
    j, k = np.arange(8)[None], np.arange(5)[None]
    logits = np.cos(0.3 * i * (k + 1)) + (k == mine)
    return {
        "features": np.sin(0.7 * i * (j + 1)) + 0.5 * (j % 3 == mine),
        "other": np.cos(0.4 * i * (j[:, :6] + 2)) + 0.5 * (j[:, :6] % 3 == mine),
        "labels": labels,
        "probabilities": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
    }


def data(name: str) -> dict[str, NDArray[Any]]:
    iris = load_iris()
    return synthetic() if name == "synth_60x8" else {"features": iris.data, "labels": iris.target}


def scored(given: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """What this package says, under the keys of the reference."""
    f, y = given["features"], given["labels"]
    ready = scores.prepare(f, y)
    found: dict[str, Any] = {
        "logme_gaussian_marginal_check": scores.logme(f, y),
        "logme_correct": scores.logme(f, y),
        "h_score": scores.h_score(f, y, regularised=False),
        "h_score_regularized": scores.h_score(f, y),
        "ledoit_wolf_alpha": ledoit_wolf_shrinkage(ready),
        "transrate_equal_weights_eps1e-4": scores.transrate(f, y),
        "transrate_class_prior_weights_eps1e-4": scores.transrate(f, y, weighted=True),
        "gbc_spherical": scores.gbc(f, y),
        "gbc_diagonal": scores.gbc(f, y, covariance="diagonal"),
        "gbc_full": scores.gbc(f, y, covariance="full"),
        "parc_x100": scores.parc(f, y),
        "knn_loo_euclidean": {str(k): scores.knn(f, y, k) for k in (1, 3, 5)},
        "knn_loo_cosine": {str(k): scores.knn(f, y, k, "cosine") for k in (1, 3, 5)},
        "lfc": scores.lfc(f, y),
        "sfda": scores.sfda(f, y),
        "sfda_shrinkage": shrinkage_of(ready),
    }
    if "other" in given:
        found["leep"] = scores.leep(given["probabilities"], y)
        found["nce"] = scores.nce(given["probabilities"].argmax(axis=1), y)
        found["linear_cka_biased(F,G)"] = scores.cka(f, given["other"], unbiased=False)
        found["linear_cka_unbiased(F,G)"] = scores.cka(f, given["other"])
    else:
        found["nleep"] = scores.nleep(f, y)
    return found


@pytest.mark.parametrize("name", list(VALUES))
def test_every_reference_value_is_met(name: str) -> None:
    found = scored(data(name))
    expected = {key: value for key, value in VALUES[name].items() if key != "logme_per_class"}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        loose = 1e-5 if key == "nleep" else 1e-6
        if value != 0 and isinstance(value, float) and abs(value) < 1e-50:
            # The exponential of a large distance: its exponent has the digits that it takes.
            assert np.sign(found[key]) == np.sign(value), key
            assert np.log(abs(found[key])) == pytest.approx(np.log(abs(value)), rel=loose), key
        elif key == "logme_gaussian_marginal_check":
            loose = 1e-8  # the density proper, without the small constants of the fixed point
            assert found[key] == pytest.approx(value, abs=loose), key
        else:
            assert found[key] == pytest.approx(value, rel=loose, abs=0), key


@pytest.mark.parametrize("name", list(VALUES))
def test_evidence_of_each_class_is_the_references(name: str) -> None:
    given = data(name)
    ready = scores.prepare(given["features"], given["labels"])
    for column, expected in enumerate(VALUES[name]["logme_per_class"]):
        still = slow.logme_column(given["features"], (given["labels"] == column).astype(float))
        # The reference's iteration stops when α/β moves by less than 1e-3; the oracle's goes on until it is still.
        assert still == pytest.approx((expected["evidence"], expected["alpha"], expected["beta"]), rel=2e-4)
        assert log_evidence(ready)[column] == pytest.approx(still[0], abs=1e-10)
        assert log_evidence(ready)[column] == pytest.approx(expected["evidence"], abs=1e-8)


@pytest.mark.parametrize("name", list(VALUES))
def test_single_precision_loses_no_more_than_1e_4(name: str) -> None:
    given = data(name)
    narrow = {key: value.astype(np.float32) if value.dtype.kind == "f" else value for key, value in given.items()}
    wide, single = scored(given), scored(narrow)
    for key, value in wide.items():
        assert single[key] == pytest.approx(value, rel=1e-4), key


@pytest.mark.parametrize("name", list(VALUES))
def test_parc_depends_on_neither_class_names_nor_image_order(name: str) -> None:
    given = data(name)
    features, labels = given["features"], given["labels"]
    order = np.random.default_rng(0).permutation(len(labels))
    renamed = np.array([1, 0, 2])[labels]
    expected = pytest.approx(VALUES[name]["parc_x100"], rel=1e-9)
    assert scores.parc(features, renamed) == expected
    assert scores.parc(features[order], labels[order]) == expected


@pytest.mark.parametrize("name", list(VALUES))
def test_parc_with_rounded_ties_is_that_of_numpys_correlations(name: str) -> None:
    """The published code's way: here, on this processor, by another library's ranks."""
    given = data(name)
    features, pairs = given["features"], np.triu_indices(len(given["labels"]), 1)
    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    apart = 1 - np.corrcoef(np.eye(3)[given["labels"]])
    expected = 100 * spearmanr((1 - np.corrcoef(rows))[pairs].round(12), apart[pairs]).statistic
    assert scores.parc(features, given["labels"], ties="rounded") == pytest.approx(expected, rel=1e-6)
