"""The cut graph, rewritten into the plain form that converts best: float32, folded, batchable; same function.

Every step is checked afterwards as a whole: the converted graph is compared with ONNX Runtime on the original one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.model.graph import Graph
from onnxspace.model.network import Network, light
from onnxspace.model.shapes import Shape, infer, set_input_shapes, with_input_shapes
from onnxspace.torchgraph.fold import evaluate_constants, folded

_T = onnx.TensorProto
_WIDENED = {_T.FLOAT16, _T.BFLOAT16, _T.DOUBLE}
_POOLS = {"MaxPool", "AveragePool", "LpPool"}


def normalise(part: Network | onnx.ModelProto, shapes: Mapping[str, Shape], *, batched: str | None = None) -> Network:
    """Fold and widen to float32 the graph `part` for inputs of `shapes`.

    With `batched`, the name of an input of one image, the result takes any number of them. Weights that need no change
    are shared with `part`.
    """
    given = light(part)
    model, weights = with_input_shapes(given.proto, shapes), dict(given.weights)
    _standard_domain(model)
    _plain_casts(model, shapes)
    _widen(model, weights)
    evaluate_constants(model, weights, shapes)
    return _gathered(_rewritten(folded(model), shapes, batched), weights)


def _gathered(model: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> Network:
    """The rewritten graph with those weights that it still uses, and those that folding has made."""
    made = light(model)
    used = made.graph.consumers.keys() | set(made.graph.outputs)
    return Network(made.proto, {name: values for name, values in {**weights, **made.weights}.items() if name in used})


def _rewritten(model: onnx.ModelProto, shapes: Mapping[str, Shape], batched: str | None) -> onnx.ModelProto:
    """Explicit padding, open batch and no outputs that nobody reads, in place."""
    _trim_unused_outputs(model)
    known = {tensor: shape for tensor, (shape, _) in infer(model, shapes).items()}
    _explicit_padding(model, known)
    if batched is None:
        return model
    _open_batch(model, known)
    set_input_shapes(model, {batched: (None, *shapes[batched][1:])})
    return model


def _standard_domain(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain


def _plain_casts(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """CastLike becomes Cast. Folding would do that too, but forget whether it saturates."""
    likes = [node for node in model.graph.node if node.op_type == "CastLike" and not node.domain]
    known = infer(model, shapes) if likes else {}
    for node in likes:
        if node.input[1] in known:
            node.attribute.append(helper.make_attribute("to", known[node.input[1]][1]))
            node.op_type = "Cast"
            del node.input[1:]


def _widen(model: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> None:
    """Half and double precision become float32: attribution needs one precision for every model."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in _WIDENED:
            value.type.tensor_type.elem_type = _T.FLOAT
    for tensor in model.graph.initializer:
        if tensor.name in weights and tensor.data_type in _WIDENED:
            weights[tensor.name] = weights[tensor.name].astype(np.float32)
            tensor.data_type = _T.FLOAT
        _widen_tensor(tensor)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and node.op_type == "Cast" and attribute.i in _WIDENED:
                attribute.i = _T.FLOAT
            if attribute.HasField("t"):
                _widen_tensor(attribute.t)


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _WIDENED:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _trim_unused_outputs(model: onnx.ModelProto) -> None:
    """Drop trailing outputs that nobody reads: a Dropout's mask, a pool's indices, running statistics."""
    graph = Graph(model)
    used = graph.consumers.keys() | set(graph.outputs)
    for node in model.graph.node:
        while node.op_type != "Split" and len(node.output) > 1 and node.output[-1] not in used:
            del node.output[-1]


def _attributes(node: onnx.NodeProto) -> dict[str, onnx.AttributeProto]:
    return {attribute.name: attribute for attribute in node.attribute}


def _explicit_padding(model: onnx.ModelProto, shapes: dict[str, Shape]) -> None:
    """Replace `auto_pad` by the pads it stands for at this input size."""
    for node in model.graph.node:
        said = _attributes(node)
        mode = said["auto_pad"].s.decode() if "auto_pad" in said else "NOTSET"
        if mode == "NOTSET" or node.op_type not in _POOLS | {"Conv"}:
            continue
        pads = _pads(node, mode, said, shapes)
        if pads is not None:
            node.attribute.remove(said["auto_pad"])
            node.attribute.append(helper.make_attribute("pads", pads))


def _pads(node: onnx.NodeProto, mode: str, said: dict[str, onnx.AttributeProto], shapes: dict[str, Shape]) -> list[int] | None:
    size = shapes.get(node.input[0], ())[2:]
    weight = shapes.get(node.input[1], ())[2:] if node.op_type == "Conv" else ()
    kernel = list(said["kernel_shape"].ints) if "kernel_shape" in said else [n or 0 for n in weight]
    if not size or len(kernel) != len(size):
        return None
    strides = list(said["strides"].ints) if "strides" in said else [1] * len(kernel)
    dilations = list(said["dilations"].ints) if "dilations" in said else [1] * len(kernel)
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        if n is None:
            return None
        total = 0 if mode == "VALID" else (-(-n // s) - 1) * s + (k - 1) * d + 1 - n
        if total < 0 and node.op_type != "Conv":
            return None  # windows of LpPool leave out the borders, which its converter does where the mode stays
        total = max(0, total)
        small, large = total // 2, total - total // 2
        begin.append(small if mode != "SAME_LOWER" else large)
        end.append(large if mode != "SAME_LOWER" else small)
    return begin + end


def _open_batch(model: onnx.ModelProto, shapes: dict[str, Shape]) -> None:
    """Let a Reshape copy its leading size where export has frozen a batch of one into its target."""
    graph = Graph(model)
    for node in model.graph.node:
        target = graph.constant(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if target is None:
            continue
        _drop_allowzero(node, target)
        source = shapes.get(node.input[0], ())
        if target.size and target[0] == 1 and source and source[0] == 1 and "allowzero" not in _attributes(node):
            opened = numpy_helper.from_array(np.concatenate([[0], target[1:]]).astype(np.int64), f"{node.output[0]}__open")
            model.graph.initializer.append(opened)
            node.input[1] = opened.name


def _drop_allowzero(node: onnx.NodeProto, target: NDArray[np.generic]) -> None:
    flag = _attributes(node).get("allowzero")
    if flag is not None and (flag.i == 0 or not (target == 0).any()):
        node.attribute.remove(flag)
