"""The cut graph, rewritten into the plain form that converts best: float32, folded, batchable; same function.

Every step is checked afterwards as a whole: the converted graph is compared with ONNX Runtime on the original one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace import runtime
from onnxspace.graph import Graph, reads
from onnxspace.shapes import Shape, elements, infer, set_input_shapes, with_input_shapes

_T = onnx.TensorProto
_WIDENED = {_T.FLOAT16, _T.BFLOAT16, _T.DOUBLE}
_POOLS = {"MaxPool", "AveragePool", "LpPool"}
_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
_FOLD_LIMIT = 16 * 2**20  # elements: a folded constant never grows beyond the largest layers of real networks


def normalise(part: onnx.ModelProto, shapes: Mapping[str, Shape], *, batched: str | None = None) -> onnx.ModelProto:
    """Fold and widen to float32 the graph `part` for inputs of `shapes`.

    With `batched`, the name of an input of one image, the result takes any number of them.
    """
    model = with_input_shapes(part, shapes)
    _standard_domain(model)
    _plain_casts(model, shapes)
    _widen(model)
    _evaluate_constants(model, shapes)
    model = _folded(model)
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


def _widen(model: onnx.ModelProto) -> None:
    """Half and double precision become float32: attribution needs one precision for every model."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in _WIDENED:
            value.type.tensor_type.elem_type = _T.FLOAT
    for tensor in model.graph.initializer:
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


def _evaluate_constants(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Everything computed from stored values alone becomes a stored value: dequantised weights, expanded biases.

    Only where its size is known beforehand and bounded: a small file may ask for a tensor of any size.
    """
    graph = Graph(model)
    constant = [node for node in graph.nodes if graph.constants.issuperset(node.output) and node.op_type not in _RANDOM]
    made = {name for node in constant for name in node.output if name}
    used = {name for node in graph.nodes if node not in constant for name in reads(node)} & made
    known = infer(model, shapes)
    small = [name for name in sorted(used) if name in known and (elements(known[name][0]) or _FOLD_LIMIT) < _FOLD_LIMIT]
    if not small:
        return
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(constant)
    read = {name for node in constant for name in reads(node)}
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in small)
    values = runtime.evaluate(part, {})
    for node in constant:
        if used.intersection(node.output) and used.intersection(node.output).issubset(small):
            model.graph.node.remove(node)
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in zip(small, values, strict=True))


@contextmanager
def _silent(*names: str) -> Iterator[None]:
    """Keep a library's advice to its own users away from ours."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger, state in zip(loggers, before, strict=True):
            logger.disabled = state


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded (weights behind Constant and Identity nodes, shape subgraphs), dead nodes dropped.

    Nothing is fused: merging a batch normalisation into its convolution moves values by a rounding, and a ReLU near zero
    then answers otherwise than in the framework that made the file.
    """
    import onnx_ir
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    with _silent("onnxscript.optimizer._constant_folding", "onnx_ir.passes.common.shape_inference"):
        graph = onnx_ir.from_proto(model)
        fold_constants(graph, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
        tidy = Sequential(
            common.IdentityEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        )
        return onnx_ir.to_proto(tidy(graph).model)


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
        total = 0 if mode == "VALID" else max(0, (-(-n // s) - 1) * s + (k - 1) * d + 1 - n)
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
