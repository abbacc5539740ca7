"""Constant folding: whatever depends only on stored values or on the sizes of tensors is computed in advance."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.errors import is_out_of_memory
from onnxspace.model import runtime
from onnxspace.model.graph import Graph, names_read_by
from onnxspace.model.network import SMALL, Network, declare_array, is_declared, is_large, with_weights_as_inputs
from onnxspace.model.shapes import Shape, count_elements, infer_shapes

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
_FOLD_LIMIT = 16 * 2**20  # elements, about those of the largest layers of real networks: larger results are not folded


def evaluate_constants(model: onnx.ModelProto, weights: dict[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> None:
    """Replace what is computed from stored values alone by stored values, in place: dequantised weights, expanded biases.

    Only where the size is known in advance and bounded, because a small untrusted file can request a tensor of any size.
    `weights` holds the values of large initialisers, and receives new ones; `shapes` are those of the model's inputs.
    """
    graph = Graph(model)
    fixed = [graph.constants.issuperset(node.output) and node.op_type not in _RANDOM for node in graph.nodes]
    constant = [node for node, known in zip(graph.nodes, fixed, strict=True) if known]
    computed = {name for node in constant for name in node.output if name}
    used = {name for reads, known in zip(graph.reads, fixed, strict=True) if not known for name in reads} & computed
    known = infer_shapes(model, shapes)
    small = [name for name in sorted(used) if name in known and (count_elements(known[name][0]) or _FOLD_LIMIT) < _FOLD_LIMIT]
    if not small:
        return
    part = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    part.graph.name = "constants"
    part.graph.node.extend(constant)
    read = {name for node in constant for name in names_read_by(node)}
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in small)
    try:
        values = runtime.evaluate(Network(part, {name: weights[name] for name in read if name in weights}), {})
    except Exception as error:  # of ONNX Runtime; running the whole graph says which node can't be computed
        if is_out_of_memory(error):
            raise
        return
    stored = set(small)
    computing = [used.intersection(node.output) for node in model.graph.node]
    kept = [node for node, names in zip(model.graph.node, computing, strict=True) if not names or not names <= stored]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    for name, value in zip(small, values, strict=True):
        _add_initializer(model, weights, name, value)


def _add_initializer(model: onnx.ModelProto, weights: dict[str, NDArray[Any]], name: str, value: NDArray[Any]) -> None:
    """Add a value as an initialiser, outside the message if it is large."""
    tensor = numpy_helper.from_array(np.asarray(value), name) if np.size(value) <= SMALL else declare_array(name, value)
    if is_large(tensor):
        weights[name] = value
    model.graph.initializer.append(tensor)


@contextmanager
def _silence(*names: str) -> Iterator[None]:
    """Suppress a library's log messages, which are meant for its direct users."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger, state in zip(loggers, before, strict=True):
            logger.disabled = state


def fold_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants (weights behind Constant and Identity nodes, shape subgraphs) and remove dead nodes; returns a new model.

    Nothing is fused: folding a batch normalisation into its convolution changes values by a rounding error, and a ReLU near
    zero could then switch, unlike in the framework that exported the file.
    """
    import onnx_ir
    from onnx_ir.passes import Sequential, common

    beside = {tensor.name: tensor for tensor in model.graph.initializer if is_declared(tensor)}
    with _silence("onnxscript.optimizer._constant_folding", "onnx_ir.passes.common.shape_inference"):
        graph = _fold_constants(with_weights_as_inputs(model))  # weights as inputs, which folding leaves alone
        tidy = Sequential(
            common.IdentityEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        )
        folded = onnx_ir.to_proto(tidy(graph).model)
    return _restore_initializers(folded, beside)


def _fold_constants(model: onnx.ModelProto) -> Any:
    """Fold constants; the graph as it is where that fails, since whether a node can be computed is found when it is converted."""
    import onnx_ir
    from onnxscript.optimizer import fold_constants

    graph = onnx_ir.from_proto(model)
    try:
        fold_constants(graph, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
    except RuntimeError:  # of an evaluator, for attributes or types that it did not foresee
        return onnx_ir.from_proto(model)
    return graph


def _restore_initializers(model: onnx.ModelProto, beside: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Turn weights that had become inputs into initialisers again, if they are still used."""
    used = {name for node in model.graph.node for name in names_read_by(node)} | {v.name for v in model.graph.output}
    given = [v for v in model.graph.input if v.name not in beside]
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.graph.initializer.extend(tensor for name, tensor in beside.items() if name in used)
    return model
