"""What else may be done to a network: weights, nodes and forms of a file changed in known ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxspace import Probes
from tests.helpers.diff_pairs import SIZE, change_weights, find, weight_of

Array = NDArray[Any]
Change = Callable[[Array], Array]


def change_of(model: ModelProto, node: str, change: Change, place: int = 1) -> ModelProto:
    """The model with one input of a node changed, which is stored."""
    name = find(model, node).input[place]
    return change_weights(model, lambda n, w: change(w).astype(w.dtype) if n == name else None)


def draw(values: Array, seed: int = 1) -> Array:
    """Noise of the size of weights, to be multiplied by a share."""
    return np.random.default_rng(seed).standard_normal(values.shape) * values.std()


def train_all(model: ModelProto, share: float = 0.1) -> ModelProto:
    """All weights moved."""
    return change_weights(model, lambda _, w: (w + share * draw(w, w.size)).astype(w.dtype) if w.ndim > 1 else None)


def cluster(model: ModelProto, levels: int = 16) -> ModelProto:
    """The weights of all layers replaced by the nearest of a few values, which are quantiles of them."""

    def snap(_: str, values: Array) -> Array | None:
        if values.ndim < 2 or values.size < 64:
            return None
        palette = np.quantile(values, (np.arange(levels) + 0.5) / levels)
        return palette[np.abs(values[..., None] - palette).argmin(-1)].astype(values.dtype)

    return change_weights(model, snap)


def factorise(model: ModelProto, node: str, rank: int) -> ModelProto:
    """A matrix product written as two of a lower rank."""
    made = copy.deepcopy(model)
    layer = find(made, node)
    (stored,) = (one for one in made.graph.initializer if one.name == layer.input[1])
    left, sizes, right = np.linalg.svd(numpy_helper.to_array(stored), full_matrices=False)
    parts = {"low": (left[:, :rank] * sizes[:rank]).astype(np.float32), "high": right[:rank].astype(np.float32)}
    made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in parts.items())
    place = [one.name for one in made.graph.node].index(node)
    made.graph.node.insert(place, helper.make_node("MatMul", [layer.input[0], "low"], ["inner"], name=f"{node}_low"))
    layer.input[:] = ["inner", "high"]
    return made


def adapt(model: ModelProto, node: str, rank: int = 2, share: float = 0.2) -> ModelProto:
    """A product of two narrow matrices added to the weights of a layer."""
    rng = np.random.default_rng(7)

    def add(values: Array) -> Array:
        rows = values.reshape(len(values), -1)
        low = rng.standard_normal((len(rows), rank)) @ rng.standard_normal((rank, rows.shape[1]))
        return values + (share * values.std() * low / np.sqrt(rank)).reshape(values.shape)

    return change_of(model, node, add)


def resize_head(model: ModelProto, classes: int, *, kept: bool) -> ModelProto:
    """The last layer with another number of classes: rows added behind the old ones (`kept`), or drawn anew."""
    made, last, rng = copy.deepcopy(model), model.graph.node[-1], np.random.default_rng(8)
    for tensor in made.graph.initializer:
        if tensor.name in last.input[1:]:
            old = numpy_helper.to_array(tensor)
            new = (rng.standard_normal((classes, *old.shape[1:])) * old.std()).astype(np.float32)
            new[: len(old)] = old[:classes] if kept else new[: len(old)]
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    made.graph.output[0].type.tensor_type.shape.dim[1].dim_value = classes
    return made


def permute_heads(model: ModelProto, block: str = "/blocks/blocks.0", heads: int = 4) -> ModelProto:
    """The heads of an attention in another order, consistently."""
    order = [2, 0, 3, 1]

    def move(values: Array) -> Array:
        return values.reshape(*values.shape[:-1], heads, -1)[..., order, :].reshape(values.shape)

    made = model
    for part in ("query", "key", "value"):
        made = change_of(made, f"{block}/{part}/MatMul", move)
        made = change_of(made, f"{block}/{part}/Add", move, 0)
    return change_of(made, f"{block}/write/MatMul", lambda w: move(w.T).T)


def swap_weights(model: ModelProto, first: str, second: str) -> ModelProto:
    """Two layers with the weights of each other."""
    made = copy.deepcopy(model)
    one, two = find(made, first), find(made, second)
    one.input[1], two.input[1] = two.input[1], one.input[1]
    return made


def rename_operator(model: ModelProto, name: str, operator: str, **attributes: Any) -> ModelProto:
    """The model with another operator in a node's place."""
    made = copy.deepcopy(model)
    node = find(made, name)
    node.op_type = operator
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return made


def replace_attributes(model: ModelProto, name: str, gone: Sequence[str] = (), **given: Any) -> ModelProto:
    """The model with some attributes of a node left out and others stated."""
    made = copy.deepcopy(model)
    node = find(made, name)
    kept = [one for one in node.attribute if one.name not in (*gone, *given)]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in given.items())])
    return made


def cut_bits(values: Array) -> Array:
    """The nearest smaller numbers of bfloat16, in single precision."""
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def ternarise(values: Array) -> Array:
    """Three values: 0, and one of either sign."""
    size = np.abs(values).mean()
    return np.asarray(np.sign(values) * size * (np.abs(values) > 0.7 * size))


def replace_one(values: Array, value: float, place: int = 7) -> Array:
    """One weight replaced."""
    return np.where(np.arange(values.size).reshape(values.shape) == place, value, values)


def round_all(model: ModelProto, change: Change) -> ModelProto:
    """The weights of all layers changed."""
    return change_weights(model, lambda _, w: change(w).astype(w.dtype) if w.ndim > 1 else None)


def add_unread(model: ModelProto) -> ModelProto:
    """A node more that nothing reads."""
    made = copy.deepcopy(model)
    made.graph.node.insert(1, helper.make_node("Sigmoid", [made.graph.node[0].output[0]], ["dead"], name="dead"))
    return made


def add_output(model: ModelProto, name: str) -> ModelProto:
    """The output of a node as an output more of the network."""
    made = copy.deepcopy(model)
    made.graph.output.append(onnx.ValueInfoProto(name=find(made, name).output[0]))
    return made


def set_constant(model: ModelProto, name: str, values: Array) -> ModelProto:
    """The model with another value of a Constant node."""
    made = copy.deepcopy(model)
    find(made, name).attribute[0].t.CopyFrom(numpy_helper.from_array(values))
    return made


def store_as(model: ModelProto, kind: int) -> ModelProto:
    """Weights stored in half precision or bfloat16, and cast to single precision by nodes."""
    made, casts = copy.deepcopy(model), []
    for tensor in made.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2:
            continue
        name = tensor.name
        low = values.astype(helper.tensor_dtype_to_np_dtype(kind))
        tensor.CopyFrom(numpy_helper.from_array(low, f"{name}_low"))
        casts.append(helper.make_node("Cast", [f"{name}_low"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    for node in reversed(casts):
        made.graph.node.insert(0, node)
    return made


def to_constant_nodes(model: ModelProto) -> ModelProto:
    """All initialisers as Constant nodes."""
    made = copy.deepcopy(model)
    nodes = [helper.make_node("Constant", [], [one.name], name=f"c_{one.name}", value=one) for one in made.graph.initializer]
    del made.graph.initializer[:]
    for node in reversed(nodes):
        made.graph.node.insert(0, node)
    return made


def to_function(model: ModelProto, name: str) -> ModelProto:
    """A node of one input as a function of the file."""
    made = copy.deepcopy(model)
    node = find(made, name)
    inner = copy.deepcopy(node)
    inner.input[:], inner.output[:] = ["x"], ["y"]
    opsets = list(made.opset_import)
    made.functions.append(helper.make_function("local", "Wrapped", ["x"], ["y"], [inner], opsets))
    made.opset_import.append(helper.make_opsetid("local", 1))
    made.ir_version = max(made.ir_version, 8)
    node.op_type, node.domain = "Wrapped", "local"
    del node.attribute[:]
    return made


def to_branch(model: ModelProto, name: str, other: str = "Sigmoid") -> ModelProto:
    """A node in the first branch of an If whose condition is always true."""
    made = copy.deepcopy(model)
    node = find(made, name)
    place = [one.name for one in made.graph.node].index(name)
    bodies = []
    for operator in (node.op_type, other):
        end = helper.make_tensor_value_info("then", TensorProto.FLOAT, None)
        bodies.append(helper.make_graph([helper.make_node(operator, [node.input[0]], ["then"])], "branch", [], [end]))
    branch = helper.make_node(
        "If", ["always"], list(node.output), name=f"{name}_if", then_branch=bodies[0], else_branch=bodies[1]
    )
    made.graph.node.remove(node)
    made.graph.node.insert(place, branch)
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    return made


def scale_input(model: ModelProto, *, folded: bool) -> ModelProto:
    """A factor per colour before the first convolution, as a node or in its weights."""
    factors = np.array([0.5, 2, 1.5], np.float32).reshape(1, 3, 1, 1)
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    if folded:
        return change_of(model, first.name, lambda w: w * factors)
    made = copy.deepcopy(model)
    find(made, first.name).input[0] = "scaled"
    made.graph.initializer.append(numpy_helper.from_array(factors, "factors"))
    made.graph.node.insert(0, helper.make_node("Mul", ["image", "factors"], ["scaled"], name="scale"))
    return made


def take_channels_last(model: ModelProto) -> ModelProto:
    """The model with an input [1, height, width, channels] and a Transpose behind it."""
    made = copy.deepcopy(model)
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIZE, SIZE, 3]))
    for node in made.graph.node:
        node.input[:] = ["turned" if one == "image" else one for one in node.input]
    made.graph.node.insert(0, helper.make_node("Transpose", ["image"], ["turned"], name="turn", perm=[0, 3, 1, 2]))
    return made


def drop_channels(model: ModelProto) -> ModelProto:
    """Every second channel between the two convolutions of a block left out, in all that holds them."""
    inner = [*find(model, "/5/bn1/BatchNormalization").input[1:], weight_of(model, "/5/conv1/Conv")]
    second = weight_of(model, "/5/conv2/Conv")
    return change_weights(model, lambda n, w: w[::2] if n in inner else w[:, ::2] if n == second else None)


def equalise(model: ModelProto) -> ModelProto:
    """Channels of a layer multiplied by factors that the next layer takes back (the activation between them is a ReLU)."""
    factors = np.linspace(0.3, 3, 20).astype(np.float32)
    scale, shift = find(model, "/5/bn1/BatchNormalization").input[1:3]
    second = weight_of(model, "/5/conv2/Conv")

    def change(name: str, values: Array) -> Array | None:
        if name in (scale, shift):
            return values * factors
        return values / factors.reshape(1, -1, 1, 1) if name == second else None

    return change_weights(model, change)


def share_weights(model: ModelProto, first: str, second: str, *, tied: bool) -> ModelProto:
    """Two layers with equal weights, stored once or twice."""
    made = copy.deepcopy(model)
    source, target = find(made, first).input[1], find(made, second).input[1]
    values = next(numpy_helper.to_array(one) for one in made.graph.initializer if one.name == source)
    if tied:
        find(made, second).input[1] = source
        return made
    return change_weights(made, lambda n, _: values if n == target else None)


def to_convolution(model: ModelProto) -> ModelProto:
    """The last layer as a convolution of one pixel, and a Flatten behind it in place of that before it."""
    made = copy.deepcopy(model)
    flat, last = made.graph.node[-2], made.graph.node[-1]
    made = change_weights(made, lambda n, w: w[:, :, None, None] if n == last.input[1] else None)
    flat, last = made.graph.node[-2], made.graph.node[-1]
    conv = helper.make_node("Conv", [flat.input[0], *last.input[1:]], ["pixel"], name="head")
    end = helper.make_node("Flatten", ["pixel"], list(last.output), name="end")
    del made.graph.node[-2:]
    made.graph.node.extend([conv, end])
    return made


def reorder_nodes(model: ModelProto) -> ModelProto:
    """The nodes in another order that is valid: each as late as its readers allow."""
    made, rest, done = copy.deepcopy(model), list(model.graph.node)[::-1], list[onnx.NodeProto]()
    while rest:
        readers = {name for node in rest for name in node.input}
        node = next(node for node in rest if readers.isdisjoint(node.output))
        done.append(node)
        rest.remove(node)
        rest.sort(key=lambda one: one.name)
    del made.graph.node[:]
    made.graph.node.extend(copy.deepcopy(node) for node in done[::-1])
    return made


def quantise_as(
    model: ModelProto,
    folder: Path,
    *,
    form: str = "QDQ",
    per_channel: bool = False,
    dynamic: bool = False,
    largest: float = 0.0,
    **more: Any,
) -> ModelProto:
    """Eight bits by ONNX Runtime's tools: with QuantizeLinear nodes or operators of integers, static or dynamic.

    Ranges are those of the generated images, or of noise up to `largest`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            noise = rng.uniform(-largest, largest, (8, 1, 3, SIZE, SIZE)).astype(np.float32)
            images = (Probes.generate(8, SIZE).images.transpose(0, 3, 1, 2)[:, None] / 127.5 - 1).astype(np.float32)
            self.rows = iter([{"image": row} for row in (noise if largest else images)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rows, None)

    onnx.save(model, folder / "float.onnx")
    target = folder / "int8.onnx"
    if dynamic:
        quantize_dynamic(folder / "float.onnx", target, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    else:
        quantize_static(
            folder / "float.onnx", target, Noise(), quant_format=getattr(QuantFormat, "QDQ" if form == "QDQ" else "QOperator"),
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=per_channel, **more,
        )  # fmt: skip
    return onnx.load(target)
