"""Copies of models in which another number is explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from models.minitaskonomy.study import (
    attribution_targets,
)
from tests.helpers import nets


@pytest.mark.parametrize("what", attribution_targets.EXPLAINED)
def test_copies_compute_what_they_explain(tmp_path: Path, rng: np.random.Generator, what: str) -> None:
    conv = helper.make_node("Conv", ["image", "w"], ["features"], pads=[1, 1, 1, 1])
    made = nets.model([conv], [nets.weight("w", 4, 3, 3, 3)], outputs=[nets.value("features", None)])
    nets.save(made, tmp_path / "a.onnx")
    images = rng.standard_normal((8, 3, 16, 16)).astype(np.float32)
    values = onnxruntime.InferenceSession(str(tmp_path / "a.onnx")).run(["features"], {"image": images})[0]
    attribution_targets.write_copy(tmp_path / "a.onnx", "features", what, values, tmp_path / "copies/a.onnx")
    found = onnxruntime.InferenceSession(str(tmp_path / "copies/a.onnx")).run([what], {"image": images})[0].reshape(-1, 4)
    rows = attribution_targets.flatten_channels(values, 1)
    if what == "squares":
        expected = np.square(rows)
    elif what == "scaled":
        expected = rows / rows.std(axis=0)
    else:
        expected = np.square((rows - rows.mean(axis=0)) @ attribution_targets.compute_whitening(rows))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_whitened_features_are_the_same_in_other_directions(rng: np.random.Generator) -> None:
    rows = rng.standard_normal((500, 5)) @ rng.standard_normal((5, 5))
    turned, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    sizes = [
        np.square((one - one.mean(axis=0)) @ attribution_targets.compute_whitening(one)).sum(axis=1)
        for one in (rows, rows @ turned)
    ]
    np.testing.assert_allclose(sizes[0], sizes[1], rtol=1e-6)
    assert sizes[0].mean() == pytest.approx(5, rel=0.2)
