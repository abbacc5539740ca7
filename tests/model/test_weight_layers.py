"""Sketches of graphs: exports of one network agree, other ranges, orders of colours and trainings don't."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.inputs.weight_sketch import WeightSketch, are_one_network
from onnxspace.model.model import open_model
from onnxspace.model.weight_layers import sketch_weights
from tests.helpers.nets import Net, save
from tests.helpers.twins import Trained, export, train


@pytest.fixture(scope="module")
def given() -> Trained:
    return train()


def sketch(path: Path) -> WeightSketch:
    model = open_model(path)
    return sketch_weights(model.graph, model.image.name)


@pytest.mark.parametrize("options", [{"merged": True}, {"last": True}, {"merged": True, "last": True}])
def test_merged_normalisations_and_layouts_are_one_network(tmp_path: Path, given: Trained, options: dict[str, bool]) -> None:
    kept = sketch(export(tmp_path / "kept.onnx", given))
    other = sketch(export(tmp_path / "other.onnx", given, **options))
    assert kept.architecture == other.architecture != ""
    assert are_one_network(kept, other)


@pytest.mark.parametrize("merged", [False, True])
def test_another_range_in_the_first_weights_is_seen(tmp_path: Path, given: Trained, merged: bool) -> None:
    """Rows are collinear although one file takes [0, 1] and the other 0 to 255."""
    kept = sketch(export(tmp_path / "kept.onnx", given))
    scaled = sketch(export(tmp_path / "scaled.onnx", given, merged=merged, gain=1 / 255))
    assert kept.architecture == scaled.architecture
    assert not are_one_network(kept, scaled)


def test_another_order_of_colours_is_seen(tmp_path: Path, given: Trained) -> None:
    kept = sketch(export(tmp_path / "rgb.onnx", given))
    assert not are_one_network(kept, sketch(export(tmp_path / "bgr.onnx", given, bands=(2, 1, 0))))


def test_another_training_of_the_same_layers_is_seen(tmp_path: Path, given: Trained) -> None:
    kept = sketch(export(tmp_path / "kept.onnx", given))
    other = sketch(export(tmp_path / "other.onnx", train("symmetric", seed=1), merged=True))
    assert kept.architecture == other.architecture
    assert not are_one_network(kept, other)


def test_arithmetic_in_front_is_seen(tmp_path: Path) -> None:
    def build(name: str, *, scaled: bool) -> WeightSketch:
        net = Net(("N", 3, 16, 16), seed=4)
        weights = net.random(8, 3, 3, 3)
        x = net.add("Mul", "image", net.weight([1 / 255])) if scaled else "image"
        pooled = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.add("Conv", x, weights))))
        return sketch(save(net.model([net.dense(pooled, 8, 3)]), tmp_path / f"{name}.onnx"))

    plain, inside = build("plain", scaled=False), build("inside", scaled=True)
    assert (plain.front, inside.front) == ("", "Mul 0.00392")
    assert plain.architecture != inside.architecture
    assert not are_one_network(plain, inside)


def test_a_graph_without_layers_has_no_architecture(tmp_path: Path) -> None:
    net = Net(("N", 3, 16, 16))
    model = open_model(save(net.model([net.add("Relu", net.add("GlobalAveragePool", "image"))]), tmp_path / "bare.onnx"))
    assert sketch_weights(model.graph, model.image.name) == WeightSketch("")
