"""`--precision auto`: bf16 where maps are the same and it is faster, float32 otherwise, and why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.attribution import precision
from onnxspace.attribution.maps import VERIFIED_IMAGES, Engines, engines_for
from onnxspace.attribution.precision import Trial, worst_cosine
from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Compute, Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.nets import classifier, save
from tests.helpers.noise import probes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(classifier(units=16), tmp_path / "net.onnx")


def choose(path: Path) -> Engines:
    model, setup = open_model(path), Setup(probes(5))
    converted = convert(model, setup.probes.images[:VERIFIED_IMAGES])
    return engines_for(model, converted, setup, Execution.on(Compute("cpu", "auto")))


def pretend(monkeypatch: pytest.MonkeyPatch, half: float) -> None:
    """Let the clock say that float32 takes a second, and bf16 `half` seconds."""
    steps = iter([0.0, 1.0, 1.0, 1.0 + half] * precision._ROUNDS)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(steps))


def test_bf16_is_taken_where_maps_are_the_same_and_it_is_faster(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LEAST_COSINE", 0.9)
    pretend(monkeypatch, 0.5)
    engines = choose(path)
    assert engines.compute.precision == "bf16"
    assert "bf16 is 2.00 × as fast" in engines.remarks([])[-1]
    found = np.concatenate([one.maps for one in engines.maps()])
    half = ox.attribute(path, probes(5), device=Compute("cpu", "bf16"))
    np.testing.assert_array_equal(found, half)


def test_float32_is_kept_where_bf16_is_slower(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LEAST_COSINE", 0.9)
    pretend(monkeypatch, 2.0)
    engines = choose(path)
    assert engines.compute.precision == "float32"
    assert "because bf16 is no faster (0.50 ×)" in engines.remarks([])[-1]
    found = np.concatenate([one.maps for one in engines.maps()])
    np.testing.assert_array_equal(found, ox.attribute(path, probes(5), device="cpu"))


def test_float32_is_kept_where_maps_differ(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "LEAST_COSINE", 0.9999999)
    pretend(monkeypatch, 0.25)
    engines = choose(path)
    assert engines.compute.precision == "float32"
    assert engines.choice is not None
    assert "bf16 is 4.00 × as fast here" in engines.choice.reason
    assert (engines.choice.used, engines.choice.asked, engines.choice.speed, engines.choice.images) == (
        "float32",
        "auto",
        4.0,
        4,
    )


def test_a_stated_precision_is_not_measured(path: Path) -> None:
    model, setup = open_model(path), Setup(probes(2))
    converted = convert(model, setup.probes.images)
    for stated in ("float32", "bf16"):
        assert engines_for(model, converted, setup, Execution.on(Compute("cpu", stated))).choice is None  # type: ignore[arg-type]


def test_the_least_cosine_counts_and_what_is_not_finite_does_not_pass() -> None:
    a = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], np.float32)
    assert worst_cosine(a, a) == 1.0
    assert worst_cosine(a, np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 0.0]], np.float32)) == pytest.approx(0.8)
    assert worst_cosine(a, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)) == 0.0
    assert worst_cosine(a, np.full_like(a, np.nan)) == -1.0
    assert Trial(0.9949, 9.0, 4).precision == "float32"
    assert Trial(0.995, 1.05, 4).precision == "bf16"


def test_workers_of_a_cluster_do_not_choose_each_for_itself() -> None:
    with pytest.raises(ConfigError, match="--precision auto is measured on one machine"):
        Execution.on(Compute("cpu", "auto"), cluster="local:2")


def test_what_is_kept_has_one_precision(path: Path, tmp_path: Path) -> None:
    space = ox.Space.create(tmp_path / "zoo.space", probes(2))
    with pytest.raises(ConfigError, match="--precision auto chooses for each model"):
        space.add(path, device=Compute("cpu", "auto"))
    assert len(space) == 0
