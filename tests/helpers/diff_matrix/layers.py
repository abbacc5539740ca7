"""Pairs of networks with other layers: in the place of one, between, in front, of another size, or in a long chain."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of, of_files

_RNG_SEED = 5
Step = tuple[str, tuple[int, ...], dict[str, object]]


def replace_layer(model: ModelProto, name: str, steps: Sequence[Step]) -> ModelProto:
    """The model with nodes in a row in the place of a layer: operators, shapes of drawn weights (empty: none) and attributes."""
    made, rng = copy.deepcopy(model), np.random.default_rng(_RNG_SEED)
    gone = pairs.find(made, name)
    place, value = list(made.graph.node).index(gone), gone.input[0]
    nodes: list[NodeProto] = []
    for k, (operator, shape, attributes) in enumerate(steps):
        output, stored = (gone.output[0] if k == len(steps) - 1 else f"{name}_{k}"), f"{name}_w{k}"
        if shape:
            made.graph.initializer.append(numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), stored))
        nodes.append(helper.make_node(operator, [value, *([stored] if shape else [])], [output], f"{name}{k}", **attributes))
        value = output
    made.graph.node.remove(gone)
    for node in reversed(nodes):
        made.graph.node.insert(place, node)
    return made


def list_replaced() -> Iterator[tuple[str, Pair]]:
    """Several layers in the place of one."""
    kinds, first, third = {"other-operator"}, "/5/conv1/Conv", "/6/conv1/Conv"
    separable: list[Step] = [
        ("Conv", (12, 1, 3, 3), {"pads": [1] * 4, "strides": [2, 2], "group": 12}), ("Conv", (20, 12, 1, 1), {}),
    ]  # fmt: skip
    bottleneck: list[Step] = [
        ("Conv", (6, 20, 1, 1), {}), ("Relu", (), {}), ("Conv", (6, 6, 3, 3), {"pads": [1] * 4}), ("Relu", (), {}), ("Conv", (20, 6, 1, 1), {}),
    ]  # fmt: skip
    head: list[Step] = [("Gemm", (48, 20), {"transB": 1}), ("Relu", (), {}), ("Gemm", (10, 48), {"transB": 1})]
    for name, at, steps, says in (
        ("convolution made separable", first, separable, "Conv → Conv+Conv"),
        ("bottleneck in place of a convolution", third, bottleneck, "Conv → Conv+Relu+Conv+Relu+Conv"),
        ("head of two layers", "/9/Gemm", head, "Gemm → Gemm+Relu+Gemm"),
    ):
        yield name, of(pairs.base, lambda m, a=at, s=steps: replace_layer(m, a, s), "differ", kinds, says, touched=at)


def use_relu(model: ModelProto) -> ModelProto:
    """A ReLU in the place of a SiLU, which two nodes compute."""
    made = copy.deepcopy(model)
    first, last = pairs.find(made, "/Sigmoid_1"), pairs.find(made, "/Mul_2")
    last.op_type = "Relu"
    last.input[:] = first.input[:]
    made.graph.node.remove(first)
    return made


def _insert_layer(model: ModelProto) -> ModelProto:
    """A layer more between the second and the third one."""
    steps: list[Step] = [("Tanh", (), {}), ("Gemm", (32, 32), {}), ("Tanh", (), {})]
    return replace_layer(model, "/Tanh_1", steps)


def list_inserted() -> Iterator[tuple[str, Pair]]:
    """Layers between others, gates, and nodes in front."""

    def make() -> ModelProto:
        return write_kind("perceptron")

    gate = {f"{BLOCK}/{name}" for name in ("Mul", "ReduceMean", "squeeze/Conv", "Relu", "excite/Conv", "HardSigmoid")}
    means, deviations = (np.reshape(row, (1, 3, 1, 1)) for row in ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]))
    yield "layer added between", of(make, _insert_layer, "differ", "added", "/Tanh_11")
    yield "layer taken out", of_files(lambda _: (_insert_layer(make()), make()), "differ", "removed", "/Tanh_11", touched={
        "/Tanh_10", "/Tanh_11", "/Tanh_12"})  # fmt: skip
    yield "gate removed", of(lambda: write_kind("mobile"), lambda m: pairs.remove(m, f"{BLOCK}/Mul"), "differ", "removed", f"{BLOCK}/Mul",
                             touched=gate)  # fmt: skip
    yield "pixels standardised in front", of(
        lambda: write_kind("mobile"), lambda m: more.prepend(m, ("Sub", means), ("Div", deviations)), "differ", "added", "front0",
        "front1")  # fmt: skip
    yield "another mean of pixels", of(
        make, lambda m: more.change_named(m, lambda w: w + 3 * means, "mean"), "differ", "changed", "/Sub", touched="/Sub")  # fmt: skip


def list_settings() -> Iterator[tuple[str, Pair]]:
    """One setting at many places, and images of another size."""
    yield "constant of a long chain", of_files(
        lambda _: (more.make_chain(300), more.make_chain(300, 1.0001)), "differ", "changed", "300 nodes", "1 → 1.0001",
        touched={f"mul{i}" for i in range(300)})  # fmt: skip
    yield "ReLU in place of SiLU", of(
        lambda: write_kind("joined"), use_relu, "differ", "other-operator", "Sigmoid+Mul → Relu", touched={"/Sigmoid_1", "/Mul_2"})  # fmt: skip
    yield "larger images", of(pairs.base, lambda m: more.resize_input(m, 64), "differ", "input-size", "1×3×64×64")
    yield "gate by a sigmoid", of(
        lambda: write_kind("mobile"), lambda m: edits.rename_operator(m, f"{BLOCK}/HardSigmoid", "Sigmoid"), "differ",
        "other-operator", "HardSigmoid → Sigmoid", touched=f"{BLOCK}/HardSigmoid")  # fmt: skip
