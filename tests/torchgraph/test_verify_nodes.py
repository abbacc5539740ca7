"""Operators are compared part by part: each part of a network runs once, on the values of those before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from onnxspace.errors import ConversionError
from onnxspace.model import runtime
from onnxspace.model.network import Network, separate_weights
from onnxspace.torchgraph import verify_nodes
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.normalise import normalise
from tests.helpers.nets import Net

FEED = {"image": np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)}


def skipping() -> onnx.ModelProto:
    """The first activation is read again by the last node."""
    net = Net((1, 3, 16, 16))
    first = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = first
    for _ in range(3):
        x = net.add("Sigmoid", net.conv(x, 4, 4, pads=[1] * 4))
    return net.model([net.add("Add", x, first)])


class Counter:
    """Counts the nodes that ONNX Runtime runs."""

    def __init__(self) -> None:
        self.nodes = self.largest = 0
        self._run = runtime.run

    def __call__(self, network: Network, feeds: Any, **how: Any) -> Any:
        self.nodes += len(network.proto.graph.node)
        self.largest = max(self.largest, len(network.proto.graph.node))
        return self._run(network, feeds, **how)


def prepare(proto: onnx.ModelProto) -> tuple[torch.fx.GraphModule, Network]:
    normal = normalise(separate_weights(proto), {"image": (1, 3, 16, 16)})
    return build(normal, "net.onnx"), normal


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter = Counter()
    monkeypatch.setattr(runtime, "run", counter)
    monkeypatch.setattr(verify_nodes, "_AT_ONCE", 1)
    return counter


def test_each_node_runs_once(counter: Counter) -> None:
    graph, normal = prepare(skipping())
    assert verify_nodes.check_nodes(graph, normal, FEED, "net.onnx")
    assert counter.nodes == len(normal.graph.nodes) == 9
    assert counter.largest == 1


def test_a_fault_in_a_later_part_is_named(counter: Counter) -> None:
    graph, normal = prepare(skipping())
    place = next(name for name, _ in reversed(list(graph.named_children())) if name.startswith("Sigmoid_"))
    graph.add_submodule(place, torch.nn.Tanh())
    with pytest.raises(ConversionError, match=r"first at Sigmoid"):
        verify_nodes.check_nodes(graph, normal, FEED, "net.onnx")
    assert counter.largest == 1


def test_where_a_part_can_not_be_run_the_whole_network_is(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_given: Any) -> Network:
        raise TypeError("a sequence")

    graph, normal = prepare(skipping())
    monkeypatch.setattr(verify_nodes, "extract_nodes", refuse)
    assert verify_nodes.check_nodes(graph, normal, FEED, "net.onnx")
    assert counter.nodes == len(normal.graph.nodes) ** 2
