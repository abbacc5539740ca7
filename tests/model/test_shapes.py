"""Sizes of tensors and work of layers: independent of the order of nodes, by inference or as the file records them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxspace.inputs.config import ModelOptions
from onnxspace.model import runtime
from onnxspace.model.describe import describe
from onnxspace.model.model import open_model
from onnxspace.model.network import separate_weights
from onnxspace.model.node_order import find_defect, sort_nodes
from onnxspace.model.records import Description
from onnxspace.model.runtime import run
from onnxspace.model.shapes import infer_shapes, multiply_adds
from onnxspace.model.trunk import Trunk
from tests.helpers.nets import Net, save


def half_network() -> onnx.ModelProto:
    """A U-Net of one level in half precision, whose input and output are float32, as converters write it."""
    net = Net((1, 3, 16, 16))
    x = net.add("Cast", "image", to=TensorProto.FLOAT16)
    wide = net.add("Relu", half_conv(net, x, 3, 4))
    low = net.add("Relu", half_conv(net, net.add("MaxPool", wide, kernel_shape=[2, 2], strides=[2, 2]), 4, 16))
    high = net.add("Resize", low, "", net.weight(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    x = net.add("Relu", half_conv(net, net.add("Concat", high, wide, axis=1), 20, 8))
    return net.model([net.add("Cast", half_conv(net, x, 8, 1), to=TensorProto.FLOAT)])


def half_conv(net: Net, x: str, inputs: int, outputs: int) -> str:
    weights = net.rng.standard_normal((outputs, inputs, 3, 3)) / 8
    return net.add("Conv", x, net.weight(weights.astype(np.float16)), pads=[1] * 4)


def with_cast_last(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with the Cast of its image at the end, and all sizes recorded."""
    made = onnx.shape_inference.infer_shapes(proto)
    first, *rest = list(made.graph.node)
    del made.graph.node[:]
    made.graph.node.extend([*rest, first])
    return made


def described(proto: onnx.ModelProto, tmp_path: Path) -> Description:
    return describe(open_model(save(proto, tmp_path / "net.onnx"), "auto", ModelOptions()))


def test_nodes_in_any_order_give_the_same_work_shares_and_encoder(tmp_path: Path) -> None:
    """3·4·9·256, 4·16·9·64, 20·8·9·256 and 8·9·256 multiply-adds."""
    plain = described(half_network(), tmp_path)
    assert plain.flops == 2 * 9 * (3 * 4 * 256 + 4 * 16 * 64 + 20 * 8 * 256 + 8 * 256)
    for proto in (with_cast_last(half_network()), reverse(half_network())):
        found = described(proto, tmp_path)
        assert (found.flops, found.encoder, found.share_below) == (plain.flops, plain.encoder, plain.share_below)
        assert found.candidates == plain.candidates


def reverse(proto: onnx.ModelProto) -> onnx.ModelProto:
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def test_a_sorted_graph_is_not_copied_and_a_cycle_is_left_for_the_check() -> None:
    proto = half_network()
    assert sort_nodes(proto) is proto
    proto.graph.node[0].input[0] = proto.graph.output[0].name
    assert len(sort_nodes(proto).graph.node) == len(proto.graph.node)
    assert find_defect(proto.graph) == "its nodes form a cycle"


def test_nodes_of_subgraphs_are_sorted_too() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Abs", ["x"], ["a"])], "branch", [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2]), helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
    ]  # fmt: skip
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])]
    proto = helper.make_model(
        helper.make_graph(nodes, "net", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    found = sort_nodes(proto)
    assert [node.op_type for node in found.graph.node[0].attribute[0].g.node] == ["Abs", "Neg"]
    assert run(found, {"x": np.array([1.0, -2.0], np.float32), "yes": np.array(True)})[0].tolist() == [-1.0, -2.0]


def unknown_to_inference(recorded: list[int], given: list[int | str]) -> onnx.ModelProto:
    """A convolution behind an operator that inference does not know; the file records what it gives."""
    net = Net(given)
    x = net.conv("image", 3, 4, pads=[1] * 4)
    net.nodes.append(helper.make_node("Strange", [x], ["strange"], domain="example"))
    proto = net.model([net.conv("strange", 4, 2, pads=[1] * 4)])
    proto.graph.value_info.append(helper.make_tensor_value_info("strange", TensorProto.FLOAT, recorded))
    return proto


def test_recorded_sizes_count_where_inference_knows_none_and_the_input_is_as_recorded() -> None:
    proto = unknown_to_inference([1, 4, 16, 16], [1, 3, 16, 16])
    assert infer_shapes(proto, {"image": (1, 3, 16, 16)})["strange"] == ((1, 4, 16, 16), TensorProto.FLOAT)
    assert "strange" not in infer_shapes(proto, {"image": (1, 3, 32, 32)})


def nested(levels: int) -> onnx.ModelProto:
    """A network that joins features of two resolutions many times, as a U of U's does; sizes are computed from shapes."""
    net = Net((1, 3, 17, 22))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    for _ in range(levels):
        low = net.conv(x, 4, 4, strides=[2, 2])
        ends = [net.weight(np.array([n])) for n in (0, 2, 4)]
        parts = (net.add("Slice", net.add("Shape", y), ends[k], ends[k + 1]) for k, y in enumerate((low, x)))
        high = net.add("Resize", low, "", "", net.add("Concat", *parts, axis=0), mode="linear")
        x = net.conv(net.add("Concat", x, high, axis=1), 8, 4, pads=[1] * 4)
    return net.model([net.conv(x, 4, 2)])


def test_a_network_of_many_joints_is_not_run_to_find_its_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = nested(18)
    expected = runtime.shapes_of(separate_weights(proto), names := [n.output[0] for n in proto.graph.node], (1, 3, 17, 22))
    found = infer_shapes(proto, {"image": (1, 3, 17, 22)})
    assert {name: found[name][0] for name in names} == expected
    monkeypatch.setattr("onnxspace.model.trunk.shapes_of", lambda *_given: pytest.fail("the network was run"))
    assert Trunk(open_model(save(proto, tmp_path / "net.onnx"), options=ModelOptions(pixels="unit"))).work


@pytest.mark.parametrize("kind", ["initializer", "constant", "shape"])
def test_lists_of_any_length_are_not_computed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that is doubled 40 times has 2⁴² numbers and more."""
    net = Net((1, 3, 16, 16))
    four = np.arange(4, dtype=np.int64)
    made = {
        "initializer": lambda: net.weight(four),
        "constant": lambda: net.add("Constant", value=numpy_helper.from_array(four)),
        "shape": lambda: net.add("Shape", "image"),
    }
    x = made[kind]()
    for _ in range(40):
        x = net.add("Concat", x, x, axis=0)
    asked: list[bool] = []
    infer = onnx.shape_inference.infer_shapes

    def watch(proto: onnx.ModelProto, *, data_prop: bool) -> onnx.ModelProto:
        asked.append(data_prop)
        return infer(proto)

    monkeypatch.setattr("onnx.shape_inference.infer_shapes", watch)
    infer_shapes(net.model([net.add("Reshape", "image", x)]), {"image": (1, 3, 16, 16)})
    assert asked == [False]


@pytest.mark.parametrize("known", ["both", "output"])
def test_work_of_a_transposed_convolution_from_the_shape_of_its_output(tmp_path: Path, known: str) -> None:
    """4·2·2·2 weights at 16·16 positions."""
    net = Net((1, 3, 16, 16))
    x = net.conv("image", 3, 4, pads=[1] * 4)
    out = net.add("ConvTranspose", x, net.random(4, 2, 2, 2), strides=[2, 2])
    trunk = Trunk(open_model(save(net.model([out]), tmp_path / "net.onnx"), options=ModelOptions()))
    shapes = trunk.shapes if known == "both" else {name: shape for name, shape in trunk.shapes.items() if name != x}
    assert multiply_adds(trunk.graph, shapes)[1] == 4 * 2 * 2 * 2 * 256


def test_work_of_a_matrix_that_comes_first(tmp_path: Path) -> None:
    """A matrix of 8×16 numbers is applied to 16 columns of 3·16 rows."""
    net = Net((1, 3, 16, 16))
    x = net.conv("image", 3, 4, pads=[1] * 4)
    columns = net.add("Reshape", x, net.weight(np.array([1, 16, 64])))
    out = net.add("MatMul", net.random(8, 16), columns)
    trunk = Trunk(open_model(save(net.model([out]), tmp_path / "net.onnx"), options=ModelOptions()))
    assert trunk.work[2] == 8 * 16 * 64


def test_measured_shapes_are_those_of_the_tensors_and_no_tensor_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, strides=[2, 2]))
    network = separate_weights(net.model([net.add("Flatten", net.add("GlobalAveragePool", x))]))
    returned: list[Any] = []
    call = runtime.Runner.__call__

    def watch(self: runtime.Runner, *given: Any) -> Any:
        returned.extend(found := call(self, *given))
        return found

    monkeypatch.setattr(runtime.Runner, "__call__", watch)
    assert runtime.shapes_of(network, [x, "t3"], (1, 3, 16, 16)) == {x: (1, 4, 7, 7), "t3": (1, 4)}
    assert [value.shape for value in returned] == [(4,), (2,)]


def test_the_size_of_what_is_no_tensor_is_its_length() -> None:
    net = Net((1, 3, 16, 16))
    parts = net.add("SplitToSequence", "image", axis=1)
    last = net.add("SequenceAt", parts, net.weight(np.int64(0)))
    network = separate_weights(net.model([last]))
    assert runtime.shapes_of(network, [parts, last], (1, 3, 16, 16)) == {parts: (3, 1, 1, 16, 16), last: (1, 1, 16, 16)}
