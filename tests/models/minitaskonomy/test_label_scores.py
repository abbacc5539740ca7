"""Scores that see labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.minitaskonomy.study import (
    label_scores,
)
from onnxspace.errors import OnnxspaceError


def test_scores_with_labels_know_which_features_hold_them(rng: np.random.Generator) -> None:
    features = rng.standard_normal((24, 6, 8, 8)).astype(np.float32)
    noise = rng.standard_normal(features.shape).astype(np.float32)
    picture = np.kron(features[:, :2], np.ones((8, 8), np.float32))
    parts = {"image": picture, "vector": features.reshape(24, -1)[:, :3], "pixel classes": (picture[:, 0] > 0).astype(np.int64)}
    parts["classes"] = (features.mean(axis=(2, 3))[:, 0] > 0).astype(np.int64)
    for kind, labels in parts.items():
        mine, other = label_scores.score_labels(features, labels, kind), label_scores.score_labels(noise, labels, kind)
        assert mine["linear_probe"] > other["linear_probe"]
        assert set(mine) == set(label_scores.OF_ALL) | (set(label_scores.OF_CLASSES) if "classes" in kind else set())


def test_errors_of_a_score_leave_a_gap() -> None:
    def fails(*_: Any) -> float:
        raise OnnxspaceError("no")

    assert np.isnan(label_scores._score_each({"linear_probe": fails}, np.ones((2, 2)), np.ones(2), "classes")["linear_probe"])
