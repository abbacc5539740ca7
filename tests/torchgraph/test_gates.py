"""What passes as a right conversion and what does not: a fault of one per cent in any operator is refused and named.

Random small networks, in which every operator in turn has such a fault; networks that amplify rounding; tails of probabilities.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

import onnxspace as ox
from onnxspace.errors import ConversionError
from onnxspace.model import noise, runtime
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import open_model
from onnxspace.model.network import Network
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.operators.normalisation import BatchNorm
from onnxspace.torchgraph.operators.pooling import MaxPool
from onnxspace.torchgraph.second_opinion import compare_values
from onnxspace.torchgraph.verify import TOLERANCE, difference
from tests.helpers.nets import Net, classifier, save
from tests.helpers.noise import probes
from tests.helpers.planted import Fault, Scaled, plant, scaled_input

CHANNELS, SIDE = 6, 12
_ACTIVATIONS: dict[str, dict[str, Any]] = {
    "Relu": {}, "LeakyRelu": {"alpha": 0.1}, "Sigmoid": {}, "Tanh": {}, "Elu": {}, "HardSigmoid": {}, "Softplus": {}, "Selu": {},
    "Softsign": {}, "HardSwish": {}, "Mish": {}, "Erf": {}, "Abs": {},
}  # fmt: skip


class Random(Net):
    """A network of random layers that keep the size of the plane."""

    def __init__(self, seed: int) -> None:
        super().__init__((1, 3, SIDE, SIDE), seed)
        self.layers = [
            self.convolve, self.activate, self.normalise, self.pool, self.add_up, self.multiply, self.turn, self.widen, self.quantise,
            self.attend, self.clip,
        ]  # fmt: skip

    def draw(self, count: int = 7) -> onnx.ModelProto:
        x = self.convolve("image", 3)
        for choice in self.rng.permutation(len(self.layers))[:count]:
            x = self.layers[choice](x)
        x = self.add("Flatten", self.add("GlobalAveragePool", self.convolve(x)))
        return self.model([self.add("Gemm", x, self.random(4, CHANNELS), self.vector(4), transB=1)], 18)

    def vector(self, count: int = CHANNELS) -> str:
        return self.weight(self.rng.uniform(0.5, 1.5, count))

    def convolve(self, x: str, inputs: int = CHANNELS) -> str:
        kind = self.rng.integers(3) if inputs == CHANNELS else 0
        if kind == 1:
            return self.add("ConvTranspose", x, self.random(CHANNELS, CHANNELS, 3, 3), self.vector(), pads=[1] * 4)
        groups = CHANNELS if kind == 2 else 1
        return self.add("Conv", x, self.random(CHANNELS, inputs // groups, 3, 3), self.vector(), pads=[1] * 4, group=groups)

    def activate(self, x: str) -> str:
        name = str(self.rng.choice(list(_ACTIVATIONS)))
        return self.add(name, x, **_ACTIVATIONS[name])

    def normalise(self, x: str) -> str:
        kind = self.rng.integers(4)
        if kind == 0:
            return self.add("BatchNormalization", x, *(self.vector() for _ in range(4)))
        if kind == 1:
            return self.add("InstanceNormalization", x, self.vector(), self.vector())
        if kind == 2:
            return self.add("LayerNormalization", x, self.vector(SIDE), self.vector(SIDE), axis=-1)
        return self.add("LRN", x, size=3)

    def pool(self, x: str) -> str:
        name = "MaxPool" if self.rng.integers(2) else "AveragePool"
        return self.add(name, x, kernel_shape=[3, 3], pads=[1] * 4)

    def add_up(self, x: str) -> str:
        return self.add(str(self.rng.choice(["Add", "Sub", "Max", "Sum", "Mean"])), self.convolve(x), x)

    def multiply(self, x: str) -> str:
        if self.rng.integers(2):
            return self.add("Div", x, self.weight(self.rng.uniform(0.5, 1.5, (CHANNELS, 1, 1))))
        gate = self.add("Conv", self.add("GlobalAveragePool", x), self.random(CHANNELS, CHANNELS, 1, 1))
        return self.add("Mul", x, self.add("Sigmoid", gate))

    def turn(self, x: str) -> str:
        rows = self.add("Transpose", x, perm=[0, 2, 3, 1])
        return self.add("Transpose", self.add("MatMul", rows, self.random(CHANNELS, CHANNELS)), perm=[0, 3, 1, 2])

    def widen(self, x: str) -> str:
        large = self.add("Resize", x, "", self.weight(np.array([1, 1, 2, 2], np.float32)), mode="linear")
        return self.add("Conv", large, self.random(CHANNELS, CHANNELS, 2, 2), strides=[2, 2])

    def quantise(self, x: str) -> str:
        scale, zero = self.weight(np.float32(0.03)), self.weight(np.array(120, np.uint8))
        return self.add("DequantizeLinear", self.add("QuantizeLinear", x, scale, zero), scale, zero)

    def attend(self, x: str) -> str:
        flat = self.add("Reshape", x, self.weight(np.array([1, CHANNELS, SIDE * SIDE])))
        scores = self.add("MatMul", flat, self.add("Transpose", flat, perm=[0, 2, 1]))
        shares = self.add("Softmax", self.add("Mul", scores, self.weight(np.float32(0.01))), axis=-1)
        return self.add("Reshape", self.add("MatMul", shares, flat), self.weight(np.array([1, CHANNELS, SIDE, SIDE])))

    def clip(self, x: str) -> str:
        return self.add("Clip", x, self.weight(np.float32(-1)), self.weight(np.float32(1)))


SEEDS = range(4)


def list_first_of_each_kind() -> list[list[str]]:
    """By seed, the outputs of the nodes whose operator no earlier node has."""
    seen: set[str] = set()
    found: list[list[str]] = []
    for seed in SEEDS:
        nodes = {node.op_type: node.output[0] for node in reversed(Random(seed).draw().graph.node) if node.op_type not in seen}
        seen |= nodes.keys()
        found.append(list(nodes.values()))
    return found


#: A seed, and the outputs of the nodes that get a fault: one of each operator, and all where all cases are run.
FAULTS = [
    *(pytest.param(seed, outputs, id=str(seed)) for seed, outputs in zip(SEEDS, list_first_of_each_kind(), strict=True)),
    *(pytest.param(seed, None, id=f"{seed}, every node", marks=pytest.mark.exhaustive) for seed in SEEDS),
]


@pytest.mark.parametrize(("seed", "outputs"), FAULTS)
def test_every_fault_of_one_per_cent_is_named_and_nothing_else_is(seed: int, outputs: list[str] | None) -> None:
    proto = Random(seed).draw()
    ox.to_torch(proto)
    for node in proto.graph.node if outputs is None else [node for node in proto.graph.node if node.output[0] in outputs]:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch, node.output[0], Scaled)
            with pytest.raises(ConversionError, match=rf"first at {node.op_type} \({node.name}\)"):
                ox.to_torch(proto)


def test_these_networks_have_every_kind_of_operator() -> None:
    kinds = {node.op_type for seed in SEEDS for node in Random(seed).draw().graph.node}
    assert len(kinds) >= 22


def _shift_pads(module: nn.Module) -> nn.Module:
    assert isinstance(module, MaxPool)
    before, behind = module.windows.pads[:2], module.windows.pads[2:]
    object.__setattr__(module.windows, "pads", (before[0] - 1, before[1], behind[0] + 1, behind[1]))
    return module


def _raise_epsilon(module: nn.Module) -> nn.Module:
    assert isinstance(module, BatchNorm)
    module.eps += 0.02  # of variances from .5 to 1.5
    return module


#: Operator of a network with all of these → a fault in it that is no factor of its result.
FAULTS: dict[str, Fault] = {
    "Conv": scaled_input(1), "MatMul": scaled_input(1), "Gemm": scaled_input(1), "QuantizeLinear": scaled_input(1),
    "DequantizeLinear": scaled_input(1), "MaxPool": _shift_pads, "BatchNormalization": _raise_epsilon, "Softmax": scaled_input(0),
    "Sigmoid": scaled_input(0), "Add": scaled_input(0),
}  # fmt: skip


def with_every_fault() -> onnx.ModelProto:
    net = Random(0)
    x = net.add("BatchNormalization", net.convolve("image", 3), *(net.vector() for _ in range(4)))
    x = net.quantise(net.add("MaxPool", x, kernel_shape=[3, 3], pads=[1] * 4))
    x = net.add("Add", net.attend(net.turn(x)), net.add("Sigmoid", x))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.add("Gemm", x, net.random(4, CHANNELS), net.vector(4), transB=1)], 18)


@pytest.mark.parametrize(("operator", "whole"), [(name, whole) for name in FAULTS for whole in (True, name == "Gemm")])
def test_a_fault_in_a_weight_or_setting_is_named(tmp_path: Path, operator: str, whole: bool) -> None:
    proto = with_every_fault()
    node = next(node for node in proto.graph.node if node.op_type == operator)
    model = open_model(save(proto, tmp_path / "net.onnx"), None if whole else proto.graph.node[-2].output[0])
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, node.output[0], FAULTS[operator])
        with pytest.raises(ConversionError, match=rf"net\.onnx: .* first at {operator} \({node.name}\)"):
            ox.to_torch(model) if whole else convert(model, probes(2, SIDE).images)
    ox.to_torch(model)


def dynamic(tmp_path: Path, layers: int = 12) -> Path:
    """A network of dense layers whose activations are quantised by their own range: it amplifies rounding."""
    net = Net((1, 3, 16, 16), seed=4)
    x = net.add("Flatten", net.add("Relu", net.conv("image", 3, 16, strides=[2, 2])))
    x = net.add("Relu", net.add("MatMul", x, net.random(784, 128)))
    for _ in range(layers):
        x = net.add("Tanh", net.add("MatMul", x, net.weight(net.rng.standard_normal((128, 128)) * 0.35)))
    proto = net.model([net.add("MatMul", x, net.random(128, 5))])
    target = tmp_path / "dynamic.onnx"
    quantize_dynamic(save(proto, tmp_path / "float.onnx"), target, weight_type=QuantType.QInt8)
    return target


def test_a_network_that_amplifies_rounding_is_converted_and_its_faults_are_named(tmp_path: Path) -> None:
    path = dynamic(tmp_path)
    model = open_model(path)
    last = Encoder((model.proto.graph.node[-1].output[0],), "the test")
    values = {model.image.name: model.preprocess(probes(1).images)}
    moved = max(noise.measure_noise(model.network, values)) / np.abs(runtime.run(model.network, values)[0]).max()
    assert moved > 0.02
    convert(model, probes(2).images, last)
    faulty = [node for node in model.proto.graph.node if node.op_type in ("MatMulInteger", "DynamicQuantizeLinear", "Tanh")]
    for node in (*faulty[:2], *faulty[-3:]):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch, node.output[0], Scaled)
            with pytest.raises(ConversionError, match=rf"first at {node.op_type}"):
                convert(model, probes(2).images, last)


def tail(bias: float) -> onnx.ModelProto:
    net = Net((1, 3, 16, 16), seed=5)
    x = net.add("Relu", net.conv(net.add("Relu", net.conv("image", 3, 32, pads=[1] * 4)), 32, 32, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    scores = net.add("Gemm", x, net.weight(net.rng.standard_normal((1, 32)) * 3), net.weight(np.float32([bias])), transB=1)
    return net.model([net.add("Sigmoid", scores)])


def test_the_tail_of_a_sigmoid_is_compared_absolutely(tmp_path: Path) -> None:
    """ONNX Runtime's Sigmoid is off by a good part of 1e-8 there, and Torch's is right."""
    proto = tail(-17)
    graph = ox.to_torch(proto)
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    theirs = runtime.run(proto, {"image": x})[0]
    with torch.no_grad():
        ours = graph(torch.from_numpy(x)).numpy()
    assert np.abs(ours).max() < 1e-4
    assert np.abs(ours - theirs).max() <= noise.TAIL
    for node in proto.graph.node[:-1]:
        with pytest.MonkeyPatch.context() as patch:
            plant(patch, node.output[0], Scaled)
            with pytest.raises(ConversionError, match=rf"first at {node.op_type} \({node.name}\)"):
                ox.to_torch(proto)


def test_outputs_of_probabilities_are_found_through_their_rearrangement() -> None:
    net = Net((1, 3, 4, 4))
    first = net.add("Sigmoid", net.conv("image", 3, 2, 1))
    second = net.add("Softmax", net.conv("image", 3, 2, 1), axis=1)
    joined = net.add("Transpose", net.add("Concat", first, second, axis=1), perm=[0, 2, 3, 1])
    mixed = net.add("Concat", first, "image", axis=1)
    graph = Network(net.model([joined, mixed, first, net.add("Mul", first, first)])).graph
    assert noise.find_tails(graph) == [noise.TAIL, 0.0, noise.TAIL, 0.0]


@pytest.mark.parametrize(("gap", "passes"), [(0, True), (1, True), (2, False)])
def test_integers_may_be_a_step_off_where_few_are(gap: int, passes: bool) -> None:
    theirs = np.arange(200, dtype=np.uint8)
    ours = theirs.astype(np.float32)
    ours[3:6] += gap
    assert (compare_values("QLinearConv", ours, theirs) <= 1) is passes
    assert (compare_values("Cast", ours, theirs) <= 1) is (gap == 0)
    assert compare_values("QLinearConv", np.round(ours * 1.01), theirs) > 1


def test_a_canonical_form_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from onnxspace.torchgraph import canonical

    form = canonical.canonicalise

    def wrong(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
        form(graph)
        next(module for name, module in graph.named_children() if name.startswith("Conv")).register_forward_hook(
            lambda _module, _inputs, output: output * 1.01
        )
        return graph

    monkeypatch.setattr(canonical, "canonicalise", wrong)
    with pytest.raises(ConversionError, match=r"canonical form differs from its graph \(relative difference 0\.0"):
        ox.to_torch(classifier())


def test_noise_is_what_the_network_does_itself() -> None:
    """Of a product with a large factor it is that factor times the movement."""
    net = Net((1, 4))
    scaled = net.add("Mul", "image", net.weight(np.float32(1000)))
    network = Network(net.model([scaled]))
    x = np.array([[1.0, -2.0, 0.5, 0.25]], np.float32)
    (first,) = noise.measure_noise(network, {"image": x})
    assert 0.1 * 2000 * noise.MOVE < first <= 1.5 * 2000 * noise.MOVE
    assert difference([x], [x]) == 0 < TOLERANCE["float32"]
