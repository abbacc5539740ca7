"""Further changes of a network: inputs exchanged, weights by their stored names, nodes at the ends, calls of tools."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.helpers.diff_edits import draw
from tests.helpers.diff_pairs import change_weights, find

Array = NDArray[Any]
Change = Callable[[Array], Array]


def change_named(model: ModelProto, change: Change, *names: str) -> ModelProto:
    """The model with stored tensors changed, by their names."""
    assert {one.name for one in model.graph.initializer} >= set(names)
    return change_weights(model, lambda n, w: change(w).astype(w.dtype) if n in names else None)


def train_named(model: ModelProto, *names: str, share: float = 0.1) -> ModelProto:
    """Stored tensors moved by noise."""
    return change_named(model, lambda w: w + share * draw(w, w.size), *names)


def exchange_inputs(model: ModelProto, node: str, first: int, second: int) -> ModelProto:
    """Two inputs of a node in each other's place."""
    made = copy.deepcopy(model)
    inputs = find(made, node).input
    inputs[first], inputs[second] = inputs[second], inputs[first]
    return made


def exchange_named(model: ModelProto, *pairs: tuple[str, str]) -> ModelProto:
    """Stored tensors with the values of each other."""
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    others = dict(pairs) | {b: a for a, b in pairs}
    return change_weights(model, lambda n, w: values[others[n]] if n in others else None)


def prepend(model: ModelProto, *steps: tuple[str, Any]) -> ModelProto:
    """Element-wise nodes with a constant in front of the network."""
    made, name = copy.deepcopy(model), "image"
    for place, (operator, values) in enumerate(steps):
        made.graph.initializer.append(numpy_helper.from_array(np.asarray(values, np.float32), f"front{place}_c"))
        node = helper.make_node(operator, [name, f"front{place}_c"], [f"front{place}"], name=f"front{place}")
        name = f"front{place}"
        made.graph.node.insert(place, node)
    for node in made.graph.node[len(steps) :]:
        node.input[:] = [name if one == "image" else one for one in node.input]
    return made


def append(model: ModelProto, operator: str, **attributes: Any) -> ModelProto:
    """A node at the end of the network."""
    made, end = copy.deepcopy(model), model.graph.output[0].name
    for node in made.graph.node:
        node.output[:] = ["before" if one == end else one for one in node.output]
        node.input[:] = ["before" if one == end else one for one in node.input]
    made.graph.node.append(helper.make_node(operator, ["before"], [end], name="end", **attributes))
    return made


def resize_input(model: ModelProto, size: int) -> ModelProto:
    """The same network for images of another size."""
    made = copy.deepcopy(model)
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size]))
    del made.graph.value_info[:]
    return made


def dequantise(model: ModelProto) -> ModelProto:
    """A quantised file with the integers of its weights as the numbers that they stand for, and no rounding of values."""
    made = copy.deepcopy(model)
    stored = {one.name: one for one in made.graph.initializer}
    moved: dict[str, str] = {}
    kept = []
    for node in made.graph.node:
        node.input[:] = [moved.get(one, one) for one in node.input]
        if node.op_type == "QuantizeLinear":
            moved[node.output[0]] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in stored:
            made.graph.initializer.append(numpy_helper.from_array(_decode(node, stored), node.output[0]))
        elif node.op_type == "DequantizeLinear":
            moved[node.output[0]] = node.input[0]
        else:
            kept.append(copy.deepcopy(node))
    outputs = {one.name for one in made.graph.output}
    kept += [helper.make_node("Identity", [moved[name]], [name], name=f"{name}_end") for name in outputs & moved.keys()]
    del made.graph.node[:]
    made.graph.node.extend(kept)
    return made


def _decode(node: onnx.NodeProto, stored: dict[str, TensorProto]) -> Array:
    values, scale, zero = (numpy_helper.to_array(stored[name]).astype(np.float32) for name in node.input)
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    shape = [-1 if place == axis else 1 for place in range(values.ndim)] if scale.size > 1 else []
    return np.asarray((values - zero.reshape(shape)) * scale.reshape(shape), np.float32)


def swap_layers(model: ModelProto, first: str, second: str, places: Sequence[int] = (1,)) -> ModelProto:
    """Two nodes with the stored inputs of each other."""
    made = copy.deepcopy(model)
    one, two = find(made, first), find(made, second)
    for place in places:
        one.input[place], two.input[place] = two.input[place], one.input[place]
    return made


def swap_modules(model: ModelProto, first: str, second: str) -> ModelProto:
    """Two modules with all stored inputs of each other, node by node."""
    made = copy.deepcopy(model)
    stored = {one.name for one in made.graph.initializer}
    held = {node.output[0] for node in made.graph.node if node.op_type == "Identity" and node.input[0] in stored} | stored
    nodes = {node.name: node for node in made.graph.node}
    for name, node in nodes.items():
        if name.startswith(first):
            other = nodes[name.replace(first, second, 1)]
            for place, one in enumerate(node.input):
                if one in held:
                    node.input[place], other.input[place] = other.input[place], one
    return made


def set_producer(model: ModelProto, name: str, version: str) -> ModelProto:
    made = copy.deepcopy(model)
    made.producer_name, made.producer_version = name, version
    return made


def quantise_kind(
    model: ModelProto, folder: Path, *, weights: str = "QInt8", form: str = "QDQ", per_channel: bool = False
) -> ModelProto:
    """Eight bits by ONNX Runtime's tools, calibrated on generated images, with weights of a type."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    from onnxspace import Probes

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            images = (Probes.generate(8, 32).images.transpose(0, 3, 1, 2)[:, None] / 127.5 - 1).astype(np.float32)
            self.rows = iter([{"image": row} for row in images])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rows, None)

    onnx.save(model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Images(), quant_format=getattr(QuantFormat, form),
        activation_type=QuantType.QUInt8, weight_type=getattr(QuantType, weights), per_channel=per_channel,
    )  # fmt: skip
    return onnx.load(folder / "int8.onnx")


def make_chain(length: int, factor: float = 1.0) -> ModelProto:
    """Multiplications by one constant after each other, behind a convolution."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    stored = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.float32(factor), "c")]
    nodes = [helper.make_node("Conv", ["image", "w"], ["t0"], name="conv", pads=[1, 1, 1, 1])]
    nodes += [helper.make_node("Mul", [f"t{i}", "c"], [f"t{i + 1}"], name=f"mul{i}") for i in range(length)]
    nodes.append(helper.make_node("Relu", [f"t{length}"], ["logits"], name="end"))
    graph = helper.make_graph(
        nodes, "chain", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 4, 32, 32])], stored,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
