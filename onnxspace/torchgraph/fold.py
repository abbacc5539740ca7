"""Constant folding: what is computed from stored values alone, or from the sizes of tensors, is computed beforehand."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.model import runtime
from onnxspace.model.graph import Graph, reads
from onnxspace.model.network import SMALL, Network, declared, is_declared, is_large, with_weights_as_inputs
from onnxspace.model.shapes import Shape, elements, infer

_RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial"}
_FOLD_LIMIT = 16 * 2**20  # elements: a folded constant never grows beyond the largest layers of real networks


def evaluate_constants(model: onnx.ModelProto, weights: dict[str, NDArray[Any]], shapes: Mapping[str, Shape]) -> None:
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
    values = runtime.evaluate(Network(part, {name: weights[name] for name in read if name in weights}), {})
    for node in constant:
        if used.intersection(node.output) and used.intersection(node.output).issubset(small):
            model.graph.node.remove(node)
    for name, value in zip(small, values, strict=True):
        _store(model, weights, name, value)


def _store(model: onnx.ModelProto, weights: dict[str, NDArray[Any]], name: str, value: NDArray[Any]) -> None:
    """Make a tensor an initialiser, beside the graph if it is large."""
    tensor = numpy_helper.from_array(np.asarray(value), name) if np.size(value) <= SMALL else declared(name, value)
    if is_large(tensor):
        weights[name] = value
    model.graph.initializer.append(tensor)


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


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants folded (weights behind Constant and Identity nodes, shape subgraphs), dead nodes dropped.

    Nothing is fused: merging a batch normalisation into its convolution moves values by a rounding, and a ReLU near zero
    then answers otherwise than in the framework that made the file.
    """
    import onnx_ir
    from onnx_ir.passes import Sequential, common
    from onnxscript.optimizer import fold_constants

    beside = {tensor.name: tensor for tensor in model.graph.initializer if is_declared(tensor)}
    with _silent("onnxscript.optimizer._constant_folding", "onnx_ir.passes.common.shape_inference"):
        graph = onnx_ir.from_proto(with_weights_as_inputs(model))  # folding has nothing to look for in them
        fold_constants(graph, input_size_limit=_FOLD_LIMIT, output_size_limit=_FOLD_LIMIT)
        tidy = Sequential(
            common.IdentityEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        )
        made = onnx_ir.to_proto(tidy(graph).model)
    return _as_stored(made, beside)


def _as_stored(model: onnx.ModelProto, beside: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Weights that were inputs as initialisers again, if they are still used."""
    used = {name for node in model.graph.node for name in reads(node)} | {v.name for v in model.graph.output}
    given = [v for v in model.graph.input if v.name not in beside]
    del model.graph.input[:]
    model.graph.input.extend(given)
    model.graph.initializer.extend(tensor for name, tensor in beside.items() if name in used)
    return model
