"""A small residual network in ONNX, and what may be done to it: pairs of models whose difference is known by construction."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper, version_converter
from torch import nn

SIZE = 32
Array = NDArray[Any]


class Residual(nn.Module):
    """Two convolutions with batch normalisations, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.short = nn.Conv2d(inputs, outputs, 1, stride) if inputs != outputs else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.bn2(self.conv2(self.act(self.bn1(self.conv1(x))))) + self.short(x))  # type: ignore[no-any-return]


def make_network(seed: int = 0) -> nn.Module:
    """A network of three residual blocks with statistics of normalisations that were gathered on noise."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 12, 3, 2, 1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        Residual(12, 12), Residual(12, 20, 2), Residual(20, 20), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 10),
    )  # fmt: skip
    network.train()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
        for _ in range(6):
            network(torch.randn(8, 3, SIZE, SIZE))
    return network.eval()


def export(network: nn.Module, *, folded: bool = False, dynamo: bool = False, opset: int = 17) -> ModelProto:
    """The network as one of PyTorch's two exporters writes it; `folded` puts batch normalisations into convolutions."""
    example = (torch.zeros(1, 3, SIZE, SIZE),)
    if dynamo:
        program = torch.onnx.export(network, example, dynamo=True, opset_version=18, verbose=False)
        assert program is not None
        return program.model_proto
    file = io.BytesIO()
    mode = torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        network, example, file, dynamo=False, opset_version=opset, do_constant_folding=folded, training=mode,
        input_names=["image"], output_names=["logits"],
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


@cache
def base() -> ModelProto:
    """The model that others are made of; it must not be changed."""
    return export(make_network())


def change_weights(model: ModelProto, change: Callable[[str, Array], Array | None]) -> ModelProto:
    """A copy with the initialisers that `change` returns others for."""
    made = copy.deepcopy(model)
    for tensor in made.graph.initializer:
        if (values := change(tensor.name, numpy_helper.to_array(tensor))) is not None:
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values), tensor.name))
    return made


def find(model: ModelProto, name: str) -> NodeProto:
    """The node of this name."""
    return next(node for node in model.graph.node if node.name == name)


def weight_of(model: ModelProto, name: str) -> str:
    """The weights that a node reads."""
    return str(find(model, name).input[1])


def train(model: ModelProto, node: str = "/5/conv2/Conv", size: float = 0.1) -> ModelProto:
    """One layer moved by noise of a share of its weights' standard deviation."""
    name, rng = weight_of(model, node), np.random.default_rng(1)
    return change_weights(
        model, lambda n, w: w + (size * w.std() * rng.standard_normal(w.shape)).astype(w.dtype) if n == name else None
    )


def prune(model: ModelProto, share: float = 0.3) -> ModelProto:
    """The smallest weights of all convolutions set to 0."""

    def cut(_name: str, values: Array) -> Array | None:
        limit = np.quantile(np.abs(values), share)
        return np.where(np.abs(values) < limit, 0, values).astype(values.dtype) if values.ndim == 4 else None

    return change_weights(model, cut)


def permute_classes(model: ModelProto) -> ModelProto:
    """The rows of the last layer in another order."""
    order, last = np.random.default_rng(2).permutation(10), model.graph.node[-1]
    return change_weights(model, lambda n, w: w[order] if n in last.input[1:] else None)


def permute_channels(model: ModelProto, *, undone: bool = True) -> ModelProto:
    """The channels between the two convolutions of a block in another order, which the second one takes back where `undone`."""
    order, inner = np.random.default_rng(3).permutation(20), find(model, "/5/bn1/BatchNormalization").input[1:]
    first, second = weight_of(model, "/5/conv1/Conv"), weight_of(model, "/5/conv2/Conv")

    def move(name: str, values: Array) -> Array | None:
        if name == second:
            return values[:, order] if undone else None
        return values[order] if name == first or name in inner else None

    return change_weights(model, move)


def flip(model: ModelProto, node: str, axis: int) -> ModelProto:
    """The weights of a node in reverse order along an axis."""
    name = weight_of(model, node)
    return change_weights(model, lambda n, w: np.flip(w, axis) if n == name else None)


def reorder_outputs(model: ModelProto) -> ModelProto:
    """The model with a second output, and the two in the other order."""
    made = copy.deepcopy(model)
    made.graph.output.insert(0, onnx.ValueInfoProto(name=find(model, "/5/act/Relu").output[0]))
    return made


def remove(model: ModelProto, name: str) -> ModelProto:
    """The model without a node, whose readers read its input."""
    made = copy.deepcopy(model)
    gone = find(made, name)
    for node in made.graph.node:
        node.input[:] = [gone.input[0] if one == gone.output[0] else one for one in node.input]
    made.graph.node.remove(gone)
    return made


def insert(model: ModelProto, operator: str, behind: str) -> ModelProto:
    """The model with a node `extra` behind another one."""
    made = copy.deepcopy(model)
    output = find(made, behind).output[0]
    for node in made.graph.node:
        node.input[:] = ["extra" if one == output else one for one in node.input]
    place = [node.name for node in made.graph.node].index(behind) + 1
    made.graph.node.insert(place, helper.make_node(operator, [output], ["extra"], name="extra"))
    return made


def rename(model: ModelProto) -> ModelProto:
    """The same graph with other names, and the operands of additions swapped."""
    made, names = copy.deepcopy(model), dict[str, str]()
    for i, node in enumerate(made.graph.node):
        node.name = f"n{i}"
        names |= {one: f"v{i}" for one in node.output if one != "logits"}
    for node in made.graph.node:
        node.output[:] = [names.get(one, one) for one in node.output]
        node.input[:] = [names.get(one, one) for one in node.input][:: -1 if node.op_type == "Add" else 1]
    return made


def set_attribute(model: ModelProto, name: str, **values: Any) -> ModelProto:
    """The model with other attributes of a node."""
    made = copy.deepcopy(model)
    node = find(made, name)
    kept = [one for one in node.attribute if one.name not in values]
    del node.attribute[:]
    node.attribute.extend([*kept, *(helper.make_attribute(key, value) for key, value in values.items())])
    return made


def to_nhwc(model: ModelProto) -> ModelProto:
    """The graph with tensors [images, height, width, channels]; operators that need the other order have Transposes around them."""
    made, moved, nodes = copy.deepcopy(model), {"image": "image"}, list[NodeProto]()
    made.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, SIZE, SIZE, 3]))
    del made.graph.value_info[:]
    for node in made.graph.node:
        output = node.output[0]
        if node.op_type in ("Conv", "MaxPool", "BatchNormalization", "GlobalAveragePool"):
            nodes.append(
                helper.make_node("Transpose", [moved[node.input[0]]], [f"{output}_in"], f"{node.name}_in", perm=[0, 3, 1, 2])
            )
            node.input[0], node.output[0] = f"{output}_in", f"{output}_out"
            after = helper.make_node("Transpose", [f"{output}_out"], [f"{output}_nhwc"], f"{node.name}_out", perm=[0, 2, 3, 1])
            nodes += [node, after]
            moved[output] = f"{output}_nhwc"
        else:
            node.input[:] = [moved.get(one, one) for one in node.input]
            nodes.append(node)
            moved[output] = output
    nodes = [copy.deepcopy(node) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made)
    return made


#: Mistakes of folding: from scale, shift, mean, variance + epsilon and bias to the factor and the bias of the folded layer.
Mistake = Callable[[Array, Array, Array, Array], tuple[Array, Array]]
MISTAKES: Mapping[str, Mistake] = {
    "it divides by the variance instead of its square root": lambda g, b, m, v: (g / v, b - m * g / v),
    "the scale was left out": lambda g, b, m, v: (1 / np.sqrt(v), b - m / np.sqrt(v)),
    "the mean was left out of the bias": lambda g, b, m, v: (g / np.sqrt(v), b),
    "the shift was left out of the bias": lambda g, b, m, v: (g / np.sqrt(v), -m * g / np.sqrt(v)),
}


def fold(model: ModelProto, wrong: str = "", mistake: Mistake | None = None) -> ModelProto:
    """All batch normalisations folded into the convolutions before them, by `mistake` at the convolution `wrong`."""
    made = copy.deepcopy(model)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    for norm in [node for node in made.graph.node if node.op_type == "BatchNormalization"]:
        layer = next(node for node in made.graph.node if node.output[0] == norm.input[0])
        scale, shift, mean, variance = (values[name].astype(np.float64) for name in norm.input[1:5])
        right: Mistake = lambda g, b, m, v: (g / np.sqrt(v), b - m * g / np.sqrt(v))  # noqa: E731
        gain, bias = (mistake if mistake is not None and layer.name == wrong else right)(scale, shift, mean, variance + 1e-5)
        weight = (values[layer.input[1]] * gain.reshape(-1, 1, 1, 1)).astype(np.float32)
        parts = {f"{layer.name}.w": weight, f"{layer.name}.b": bias.astype(np.float32)}
        made.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in parts.items())
        layer.input[:] = [layer.input[0], *parts]
        layer.output[0] = norm.output[0]
        made.graph.node.remove(norm)
    return made


def convert_opset(model: ModelProto, opset: int) -> ModelProto:
    return version_converter.convert_version(model, opset)


def optimise(model: ModelProto, folder: Path, level: str = "ORT_ENABLE_EXTENDED") -> ModelProto:
    """The graph that ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimised.onnx")


def halve(model: ModelProto) -> ModelProto:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(copy.deepcopy(model), keep_io_types=True)  # type: ignore[no-any-return]


def quantise(model: ModelProto, folder: Path) -> ModelProto:
    """Static quantisation with QuantizeLinear and DequantizeLinear, calibrated on noise."""
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.rows = iter([{"image": rng.uniform(-1, 1, (1, 3, SIZE, SIZE)).astype(np.float32)} for _ in range(8)])

        def get_next(self) -> dict[str, Array] | None:
            return next(self.rows, None)

    onnx.save(model, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Noise(), activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8
    )
    return onnx.load(folder / "int8.onnx")
