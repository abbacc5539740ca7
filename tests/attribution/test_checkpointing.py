"""Gradients whose activations are computed again: equal to the byte to those of the plain pass, with less memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from onnxspace.attribution.checkpointing import Plan, Profile, Segment, SegmentedGraph, plan_segments, profile_graph
from onnxspace.attribution.explainer import Explainer, make_explainer
from onnxspace.attribution.gradients import Batch
from onnxspace.attribution.subject import find_subject
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import METHODS, Method, Options
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.workflows.child.layer_maps import explain_layers
from tests.helpers.nets import Net, save
from tests.helpers.noise import probes

SIZE = 16
FEW: dict[str, dict[str, Any]] = {
    "smoothgrad": {"samples": 5},
    "integrated-gradients": {"steps": 5},
    "unit-saliency": {"units": 6},
}
RULED = [name for name, spec in METHODS.items() if spec.place == "image"]


def residual() -> onnx.ModelProto:
    """Blocks with a value that three nodes read, rectified in place and not, and a classifier."""
    net = Net(("N", 3, SIZE, SIZE))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4, strides=[2, 2]))
    for _ in range(2):
        y = net.add("Relu", net.conv(x, 8, 8, pads=[1] * 4))
        y = net.add("Add", net.conv(y, 8, 8, pads=[1] * 4), net.add("Sigmoid", x))
        x = net.add("Relu", net.add("Add", y, x))
    x = net.add(
        "Flatten", net.add("GlobalAveragePool", net.add("Clip", x, net.weight(np.float32(0)), net.weight(np.float32(6))))
    )
    return net.model([net.dense(x, 8, 3)])


def skips() -> onnx.ModelProto:
    """A U with skip connections, of which one is read on the way down, on the way up and at the end, and two outputs."""
    net = Net(("N", 3, SIZE, SIZE), seed=1)
    first = net.add("Relu", net.conv("image", 3, 6, pads=[1] * 4))
    second = net.add("Elu", net.conv(net.add("MaxPool", first, kernel_shape=[2, 2], strides=[2, 2]), 6, 8, pads=[1] * 4))
    third = net.add(
        "Relu",
        net.conv(net.add("AveragePool", second, kernel_shape=[2, 2], strides=[2, 2]), 8, 8, pads=[2] * 4, dilations=[2, 2]),
    )
    y = net.add("Concat", net.add("ConvTranspose", third, net.random(8, 8, 2, 2), strides=[2, 2]), second, axis=1)
    side = net.conv(y, 16, 1, 1)
    y = net.add("Relu", net.conv(y, 16, 6, pads=[1] * 4))
    y = net.add("Resize", y, "", net.weight(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    y = net.conv(net.add("Concat", y, first, axis=1), 12, 6, pads=[1] * 4)
    return net.model([net.add("Relu", net.add("Add", y, first)), net.add("Sigmoid", side)])


def tokens() -> onnx.ModelProto:
    """A block of a transformer: a node with several outputs, products of two computed tensors, softmax, normalisation."""
    net = Net(("N", 3, SIZE, SIZE), seed=2)
    patches = net.add("Reshape", net.conv("image", 3, 12, 4, strides=[4, 4]), net.weight(np.array([0, 12, 16], np.int64)))
    x = net.add("Transpose", patches, perm=[0, 2, 1])
    ones, zeros = net.weight(np.ones(12, np.float32)), net.weight(np.zeros(12, np.float32))
    given = net.add("MatMul", net.add("LayerNormalization", x, ones, zeros, axis=-1), net.random(12, 36))
    net.nodes.append(
        onnx.helper.make_node(
            "Split", [given, net.weight(np.array([12, 12, 12], np.int64))], ["q", "k", "v"], name="split", axis=2
        )
    )
    scores = net.add("MatMul", "q", net.add("Transpose", "k", perm=[0, 2, 1]))
    x = net.add("Add", x, net.add("MatMul", net.add("Softmax", scores, axis=-1), "v"))
    y = net.add("Gelu", net.add("MatMul", x, net.random(12, 24)))
    x = net.add("Add", x, net.add("MatMul", y, net.random(24, 12)))
    return net.model([net.dense(net.add("ReduceMean", x, net.weight(np.array([1], np.int64)), keepdims=0), 12, 3)], opset=20)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {"residual": residual, "skips": skips, "tokens": tokens}


@cache
def converted(name: str) -> tuple[Model, EncoderGraph]:
    with TemporaryDirectory() as folder:
        model = open_model(
            save(NETWORKS[name](), Path(folder) / "net.onnx"), None, ModelOptions(scale=1 / 64, mean=(2.0,), std=(1.0,))
        )
    return model, convert(model, probes(2, SIZE).images)


def prepare(name: str, method: Method, rules: dict[str, str | float] | None = None) -> tuple[Explainer, Batch]:
    model, graph = converted(name)
    options = Options(**FEW.get(method, {}), rules=rules)
    setup = Setup(probes(3, SIZE), method, options)
    explainer = make_explainer(model, graph, setup, torch.device("cpu"))
    return explainer, explainer.prepare_batch(setup.probes.images, room=2)


def segmented(explainer: Explainer, profile: Profile, segments: tuple[Segment, ...]) -> Explainer:
    graph = SegmentedGraph(explainer.network.graph, profile.units, segments)  # type: ignore[arg-type]
    return replace(explainer, network=replace(explainer.network, graph=graph))


def cut_everywhere(profile: Profile) -> tuple[Segment, ...]:
    return tuple(Segment(place, place + 1) for place in range(len(profile.units)))


@pytest.mark.parametrize("method", RULED)
@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_equal_to_the_byte(name: str, method: Method) -> None:
    explainer, batch = prepare(name, method)
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    plain = explainer.compute_maps(batch).maps
    assert float(plain.abs().max()) > 0
    third = len(profile.units) // 3
    thirds = (Segment(0, third), Segment(third, 2 * third), Segment(2 * third, len(profile.units)))
    for segments in (thirds, cut_everywhere(profile)):
        again = segmented(explainer, profile, segments).compute_maps(batch).maps
        assert torch.equal(again, plain)


@pytest.mark.parametrize("rule", ["ratio-offset", "flat", "w-square"])
def test_rules_of_no_method_are_equal_to_the_byte(rule: str) -> None:
    entries: dict[str, str | float] = {"Sigmoid": rule, "Elu": rule} if rule == "ratio-offset" else {"Input": rule}
    explainer, batch = prepare("skips", "lrp-epsilon", entries)
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    again = segmented(explainer, profile, cut_everywhere(profile)).compute_maps(batch).maps
    assert torch.equal(again, explainer.compute_maps(batch).maps)


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam"])
def test_maps_of_activations_are_equal_to_the_byte(method: Method) -> None:
    model, _ = converted("residual")
    setup = Setup(probes(3, SIZE), method)
    subject = find_subject(model, setup)
    graph = convert(model, setup.probes.images[:2], subject.encoder)
    explainer = make_explainer(model, graph, setup, torch.device("cpu"), subject=subject)
    batch = explainer.prepare_batch(setup.probes.images)
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    again = segmented(explainer, profile, cut_everywhere(profile)).compute_maps(batch).maps
    assert torch.equal(again, explainer.compute_maps(batch).maps)


def test_maps_in_half_precision_are_equal_to_the_byte() -> None:
    explainer, batch = prepare("skips", "lrp-gamma")
    half = replace(explainer, compute=Compute("cpu", precision="bf16"))
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    again = segmented(half, profile, cut_everywhere(profile)).compute_maps(batch).maps
    assert torch.equal(again, half.compute_maps(batch).maps)
    assert not torch.equal(again, explainer.compute_maps(batch).maps)


def test_several_backward_passes_through_one_graph_are_equal_to_the_byte() -> None:
    explainer, batch = prepare("skips", "elrp")
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    images = probes(3, SIZE).images
    plain = list(explain_layers(explainer, images))
    again = list(explain_layers(segmented(explainer, profile, cut_everywhere(profile)), images))
    assert len(plain) == len(again) > 1
    assert all(np.array_equal(one.maps, other.maps) for one, other in zip(plain, again, strict=True))


def count_kept(graph: Callable[[Tensor], Any], values: Tensor) -> int:
    """Bytes that autograd keeps of a forward pass, beside the network's weights."""
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    point = values.detach().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = graph(point)
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*graph.parameters(), *graph.buffers())}  # type: ignore[attr-defined]
    assert outputs is not None
    return sum(
        storage.nbytes() for place, storage in kept.items() if place not in weights | {point.untyped_storage().data_ptr()}
    )


@pytest.mark.parametrize("method", ["saliency", "elrp", "lrp-gamma", "lrp-alpha-beta"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_profile_counts_what_autograd_keeps(name: str, method: Method) -> None:
    explainer, batch = prepare(name, method)
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    saved = {key for unit in profile.units for key in unit.saved}
    counted = sum(unit.own + sum(size for key, size in unit.made.items() if key in saved) for unit in profile.units)
    kept = count_kept(explainer.network.graph, batch.values)
    assert kept <= counted <= 1.25 * kept  # what the graph returns is kept in any case


def test_a_plan_takes_no_more_than_its_room() -> None:
    explainer, batch = prepare("skips", "elrp")
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    plans: list[Plan] = [plan_segments(profile, room) for room in (10**9, 0)]
    whole, lowest = plans
    assert not whole.recomputes
    assert lowest.recomputes
    assert len(whole.segments) == 1
    between = plan_segments(profile, (whole.peak + lowest.peak) // 2)
    assert lowest.peak < between.peak <= (whole.peak + lowest.peak) // 2 < whole.peak
    for plan in (lowest, between):
        assert [segment.first for segment in plan.segments[1:]] == [segment.end for segment in plan.segments[:-1]]
        assert plan.segments[0].first == 0
        assert plan.segments[-1].end == len(profile.units)


def test_without_a_gradient_the_graph_runs_as_a_whole() -> None:
    explainer, batch = prepare("residual", "saliency")
    profile = profile_graph(explainer.network.graph, batch.values)  # type: ignore[arg-type]
    again = segmented(explainer, profile, cut_everywhere(profile))
    assert torch.equal(again.network.forward(batch.values)[0], explainer.network.forward(batch.values)[0])
