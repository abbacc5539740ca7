"""Engines where memory is short: smaller batches, then activations that are computed again, then a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.attribution import memory_bound
from onnxspace.attribution.checkpointing import SegmentedGraph, plan_segments, profile_graph
from onnxspace.attribution.grouped_forward import GroupedForward
from onnxspace.attribution.maps import Engines, engines_for
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import Method
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.attribution.test_checkpointing import SIZE, converted
from tests.helpers.nets import Net, save
from tests.helpers.noise import probes


def prepare(name: str, batch: int, method: Method = "elrp") -> Engines:
    model, graph = converted(name)
    return engines_for(model, graph, Setup(probes(8, SIZE), method), Execution.on("cpu", batch))


def limit_room(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr(memory_bound, "count_free_memory", lambda: room)


def estimate(engines: Engines) -> tuple[int, int]:
    """Peaks for one image: of the plain pass, and the lowest."""
    explainer = engines.explainers[0]
    profile = profile_graph(explainer.network.graph, explainer.prepare_batch(probes(1, SIZE).images).values)  # type: ignore[arg-type]
    return plan_segments(profile, 2**40).peak, plan_segments(profile, 0).peak


def test_with_enough_memory_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_room(monkeypatch, 2**40)
    engines = prepare("skips", 8)
    assert engines.size == 8
    assert not isinstance(engines.explainers[0].network.graph, SegmentedGraph)


def test_batches_are_lowered_first_and_then_activations_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = prepare("skips", 8)
    whole, lowest = estimate(plain)
    expected = np.concatenate([found.maps for found in plain.maps()])
    limit_room(monkeypatch, 3 * whole)
    fewer = prepare("skips", 8)
    assert fewer.size == 3
    assert not isinstance(fewer.explainers[0].network.graph, SegmentedGraph)
    limit_room(monkeypatch, (whole + lowest) // 2)
    one = prepare("skips", 8)
    assert one.size == 1
    assert isinstance(one.explainers[0].network.graph, SegmentedGraph)
    for engines in (fewer, one):
        np.testing.assert_allclose(np.concatenate([found.maps for found in engines.maps()]), expected, rtol=1e-4, atol=1e-6)


def test_what_does_not_fit_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_room(monkeypatch, estimate(prepare("skips", 1))[1] // 2)
    with pytest.raises(AttributionError, match=r"net\.onnx: one image takes about .* Allow more with --limits memory="):
        prepare("skips", 1)


def shuffle(mixed: bool) -> onnx.ModelProto:
    """A deep network that takes four images, whose values are ordered by a list of numbers; `mixed`: their mean image is subtracted."""
    net = Net((4, 3, SIZE, SIZE))
    x = net.add("Sub", "image", net.add("ReduceMean", "image", axes=[0], keepdims=1)) if mixed else "image"
    x = net.add("Relu", net.conv(x, 3, 6, pads=[1] * 4))
    for _ in range(6):
        x = net.add("Sigmoid", net.conv(x, 6, 6, pads=[1] * 4))
    x = net.add("Reshape", net.add("GlobalAveragePool", x), net.weight(np.array([24])))
    order = np.concatenate([6 * i + np.array([3, 1, 0, 5, 4, 2]) for i in range(4)])
    x = net.add("Reshape", net.add("Gather", x, net.weight(order), axis=0), net.weight(np.array([4, 6])))
    return net.model([net.dense(net.add("Relu", net.dense(x, 6, 5)), 5, 3)])


@pytest.mark.parametrize("mixed", [False, True])
def test_networks_that_take_several_images_at_a_time(mixed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = open_model(save(shuffle(mixed), tmp_path / "four.onnx"))
    setup = Setup(probes(8, SIZE), "elrp")
    graph = convert(model, setup.probes.images[:2])
    plain = engines_for(model, graph, setup, Execution.on("cpu", 8))
    expected = np.concatenate([found.maps for found in plain.maps()])
    forward = plain.explainers[0].network.graph
    assert isinstance(forward, GroupedForward)
    profile = profile_graph(forward.graph, plain.explainers[0].prepare_batch(setup.probes.images[:1]).values)  # type: ignore[arg-type]
    assert forward.group.mixed == mixed
    passes = 4 if mixed else 1
    limit_room(monkeypatch, passes * (plan_segments(profile, 2**40).peak - 1))
    bounded = engines_for(model, graph, setup, Execution.on("cpu", 8))
    inner = bounded.explainers[0].network.graph
    assert bounded.size == 4
    assert isinstance(inner, GroupedForward)
    assert isinstance(inner.graph, SegmentedGraph)
    np.testing.assert_allclose(np.concatenate([found.maps for found in bounded.maps()]), expected, rtol=1e-4, atol=1e-7)


def test_attribute_stays_within_the_memory_that_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    net = Net(("N", 3, SIZE, SIZE))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    for _ in range(4):
        x = net.add("Elu", net.conv(x, 8, 8, pads=[1] * 4))
    path = save(net.model([net.add("GlobalAveragePool", x)]), tmp_path / "deep.onnx")
    expected = ox.attribute(path, probes(2, SIZE), "lrp-gamma", device="cpu", batch_size=1)
    limit_room(monkeypatch, 150_000)
    assert np.array_equal(ox.attribute(path, probes(2, SIZE), "lrp-gamma", device="cpu"), expected)
