"""Limits that are proposed for an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.checking.calibrate import as_toml, calibrate, propose_limits
from onnxspace.checking.child.forms import FORMS, write_form
from onnxspace.checking.measure import METRICS
from onnxspace.checking.plan import CheckPlan, artifacts_against
from tests.helpers.checks import IMAGES, changed, network, shuffled, verdict
from tests.helpers.nets import save


def test_calibration_proposes_limits_that_every_form_passes(place: Path) -> None:
    """Also int8, which the usual limits need not let pass; faults stay beyond them."""
    plan = CheckPlan(artifacts_against(["old.onnx"], "old.onnx", {}, False, None), images=IMAGES)
    found = calibrate(plan, ("opset", "optimised", "half", "int8"))[0]
    assert not found.failed
    assert set(found.forms) == {"opset", "optimised", "half", "int8"}
    write_form("int8", ox.open_model("old.onnx"), ox.Probes.generate(IMAGES).images, place / "int8.onnx")
    assert verdict("int8.onnx", limits=found.limits).outcome == "same"
    save(changed(network(), shuffled), place / "bad.onnx")
    assert verdict("bad.onnx", limits=found.limits).outcome == "different"
    assert "[check.artifacts.old.limits]\naffinity = 0." in as_toml([found])


def test_a_broken_form_gives_no_limits(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_model: Any, _images: Any, target: Path) -> None:
        save(network(5), target)

    monkeypatch.setitem(FORMS, "int8", broken)
    found = calibrate(
        CheckPlan(artifacts_against(["old.onnx"], "old.onnx", {}, False, None), images=IMAGES), ("opset", "int8")
    )[0]
    assert set(found.forms) == {"opset"}
    assert "old.onnx as int8 gives no limits: its maps are too different (affinity" in found.failed["int8"]
    assert found.limits["affinity"] > 0.99


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.3])
def test_counts_of_other_images_stay_within_what_is_proposed(rate: float) -> None:
    """Whatever share of images a form changes, other images of the same number seldom have more than the limit allows."""
    first, second = np.random.default_rng(0).binomial(64, rate, (2, 4000))
    limits = {count: propose_limits([{"top1": 1 - count / 64}], 64)["top1"] for count in set(first.tolist())}
    passed = np.array([1 - changed / 64 >= limits[seen] for seen, changed in zip(first.tolist(), second.tolist(), strict=True)])
    assert passed.mean() > 0.96
    assert limits[int(first.min())] > 0.5


def test_proposed_limits_leave_room_and_leave_extremes_alone() -> None:
    """Every measure that has a usual limit gets one, and no other."""
    worst = {
        "affinity": 0.99,
        "affinity_p5": 0.9,
        "affinity_worst": 0.2,
        "encoder_cosine": 0.9,
        "output_cosine": 1.0,
        "output_r2": 0.99,
    }
    found = propose_limits([{**worst, "output_max": 0.013, "size": 0.3, "top1": 1.0}, dict.fromkeys(worst, 1.0)], 60)
    expected = {
        "affinity": 0.98,
        "affinity_p5": 0.6,
        "encoder_cosine": 0.8,
        "output_cosine": 0.999,
        "output_r2": 0.96,
        "top1": 0.95,
    }
    assert found == pytest.approx(expected, abs=1.01e-3)
    assert all(found[name] <= value for name, value in expected.items())
    exact = {"outputs", "output_finite"}  # of every faithful form they are 1
    assert set(found) == {name for name, metric in METRICS.items() if metric.limit is not None} - exact
