"""Normalisation of an ONNX graph before conversion: float32, constants folded, open batch axis; the function is preserved.

The steps are verified together afterwards: the converted graph is compared with ONNX Runtime on the original one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.model.graph import Graph
from onnxspace.model.network import Network, separate_weights
from onnxspace.model.shapes import Shape, infer_shapes, set_input_shapes, with_input_shapes
from onnxspace.model.widening import widen
from onnxspace.torchgraph.fold import evaluate_constants, fold_graph

_T = onnx.TensorProto
_POOLS = {"MaxPool", "AveragePool", "LpPool"}


def normalise(part: Network | onnx.ModelProto, shapes: Mapping[str, Shape], *, batched: str | None = None) -> Network:
    """Normalise the graph `part` for inputs of `shapes`: float32, constants folded, explicit padding.

    `batched` names an input for one image whose batch axis is then opened. Returns a new network, which shares weights that
    need no change with `part`.
    """
    given = separate_weights(part)
    model, weights = with_input_shapes(given.proto, shapes), dict(given.weights)
    _unify_domain(model)
    _resolve_cast_like(model, shapes)
    widen(model, weights)
    _forgo_accuracy(model)
    evaluate_constants(model, weights, shapes)
    return _collect_weights(_rewrite(fold_graph(model), shapes, batched), weights)


def _collect_weights(model: onnx.ModelProto, weights: dict[str, NDArray[Any]]) -> Network:
    """The rewritten graph with the weights that it still uses, including those that folding computed."""
    network = separate_weights(model)
    used = network.graph.consumers.keys() | set(network.graph.outputs)
    return Network(network.proto, {name: values for name, values in {**weights, **network.weights}.items() if name in used})


def _rewrite(model: onnx.ModelProto, shapes: Mapping[str, Shape], batched: str | None) -> onnx.ModelProto:
    """Make padding explicit, open the batch axis and remove unused outputs, in place."""
    _trim_unused_outputs(model)
    known = {tensor: shape for tensor, (shape, _) in infer_shapes(model, shapes).items()}
    _make_padding_explicit(model, known)
    if batched is None:
        return model
    _open_batch(model, known)
    set_input_shapes(model, {batched: (None, *shapes[batched][1:])})
    return model


def _unify_domain(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.domain = "" if node.domain == "ai.onnx" else node.domain
    for entry in model.opset_import:
        entry.domain = "" if entry.domain == "ai.onnx" else entry.domain


def _resolve_cast_like(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Replace CastLike by Cast. Folding would do that too, but lose its `saturate` attribute."""
    likes = [node for node in model.graph.node if node.op_type == "CastLike" and not node.domain]
    known = infer_shapes(model, shapes) if likes else {}
    for node in likes:
        if node.input[1] in known:
            node.attribute.append(helper.make_attribute("to", known[node.input[1]][1]))
            node.op_type = "Cast"
            del node.input[1:]


def _forgo_accuracy(model: onnx.ModelProto) -> None:
    """Have products of packed weights computed in single precision: a kernel may round their inputs to 8 bits."""
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            kept = [attribute for attribute in node.attribute if attribute.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _trim_unused_outputs(model: onnx.ModelProto) -> None:
    """Remove unused trailing outputs: a Dropout's mask, a pool's indices, running statistics."""
    graph = Graph(model)
    used = graph.consumers.keys() | set(graph.outputs)
    for node in model.graph.node:
        while node.op_type != "Split" and len(node.output) > 1 and node.output[-1] not in used:
            del node.output[-1]


def _attributes_of(node: onnx.NodeProto) -> dict[str, onnx.AttributeProto]:
    return {attribute.name: attribute for attribute in node.attribute}


def _make_padding_explicit(model: onnx.ModelProto, shapes: dict[str, Shape]) -> None:
    """Replace `auto_pad` by the equivalent `pads` for this input size."""
    for node in model.graph.node:
        given = _attributes_of(node)
        mode = given["auto_pad"].s.decode() if "auto_pad" in given else "NOTSET"
        if mode == "NOTSET" or node.op_type not in _POOLS | {"Conv"}:
            continue
        pads = _resolve_pads(node, mode, given, shapes)
        if pads is not None:
            node.attribute.remove(given["auto_pad"])
            node.attribute.append(helper.make_attribute("pads", pads))


def _resolve_pads(
    node: onnx.NodeProto, mode: str, given: dict[str, onnx.AttributeProto], shapes: dict[str, Shape]
) -> list[int] | None:
    size = shapes.get(node.input[0], ())[2:]
    weight = shapes.get(node.input[1], ())[2:] if node.op_type == "Conv" else ()
    kernel = list(given["kernel_shape"].ints) if "kernel_shape" in given else [n or 0 for n in weight]
    if not size or len(kernel) != len(size):
        return None
    strides = list(given["strides"].ints) if "strides" in given else [1] * len(kernel)
    dilations = list(given["dilations"].ints) if "dilations" in given else [1] * len(kernel)
    begin, end = [], []
    for n, k, s, d in zip(size, kernel, strides, dilations, strict=True):
        if n is None:
            return None
        total = 0 if mode == "VALID" else (-(-n // s) - 1) * s + (k - 1) * d + 1 - n
        if total < 0 and node.op_type != "Conv":
            return None  # windows that leave out the borders, which only the converter handles
        total = max(0, total)
        small, large = total // 2, total - total // 2
        begin.append(small if mode != "SAME_LOWER" else large)
        end.append(large if mode != "SAME_LOWER" else small)
    return begin + end


def _open_batch(model: onnx.ModelProto, shapes: dict[str, Shape]) -> None:
    """Let a Reshape copy its leading size where the exporter fixed a batch of one in its target."""
    graph = Graph(model)
    for node in model.graph.node:
        target = graph.constant(node.input[1]) if node.op_type == "Reshape" and len(node.input) > 1 else None
        if target is None:
            _open_shape(node, shapes)
            continue
        _drop_allowzero(node, target)
        source = shapes.get(node.input[0], ())
        if target.size and target[0] == 1 and source and source[0] == 1 and "allowzero" not in _attributes_of(node):
            opened = numpy_helper.from_array(np.concatenate([[0], target[1:]]).astype(np.int64), f"{node.output[0]}__open")
            model.graph.initializer.append(opened)
            node.input[1] = opened.name


def _open_shape(node: onnx.NodeProto, shapes: dict[str, Shape]) -> None:
    """The same for a Reshape of version 1, whose target is an attribute."""
    sizes = _attributes_of(node).get("shape") if node.op_type == "Reshape" else None
    if sizes is not None and list(sizes.ints[:1]) == [1] and shapes.get(node.input[0], ())[:1] == (1,):
        sizes.ints[0] = 0


def _drop_allowzero(node: onnx.NodeProto, target: NDArray[np.generic]) -> None:
    flag = _attributes_of(node).get("allowzero")
    if flag is not None and (flag.i == 0 or not (target == 0).any()):
        node.attribute.remove(flag)
