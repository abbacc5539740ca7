"""Tidy exported models: stored values that are inputs, odd names, paths of the exporting machine, stale shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxspace.errors import ModelError
from onnxspace.model.graph import iter_nodes
from onnxspace_converters.loaded_network import LoadedNetwork

IMAGE = "image"
_STANDARD = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def tidy(model: onnx.ModelProto, loaded: LoadedNetwork, *, dynamic: bool) -> onnx.ModelProto:
    """Give a model, in place, one named input of open or fixed batch, named outputs, and no traces of the exporting machine.

    `loaded` is the network it was exported from; with `dynamic`, the batch is open. Returns the model. Raises ModelError for
    inputs without a value, and for unknown operators.
    """
    _strip_metadata(model)
    store_constants(model, loaded.constants)
    _drop_unused_inputs(model)
    _require_one_input(model)
    rename_tensors(model, _new_names(model, loaded.outputs))
    _set_batch(model, None if dynamic else loaded.batch or 1)
    _refuse_unlist_operators(model)
    return model


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Remove metadata of nodes (file paths, stack traces), documentation, and shapes that may be stale."""
    model.doc_string = ""
    del model.metadata_props[:]
    for graph in (model.graph, *model.functions):
        graph.doc_string = ""
        del graph.value_info[:]
        del graph.metadata_props[:]
    for node in (*iter_nodes(model.graph), *(node for function in model.functions for node in iter_nodes(function))):
        node.doc_string = ""
        del node.metadata_props[:]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]


def store_constants(model: onnx.ModelProto, constants: Mapping[str, NDArray[Any]]) -> None:
    """Turn inputs with values in `constants`, or stored in the file, into stored values only."""
    stored = {tensor.name for tensor in model.graph.initializer}
    added = {v.name: constants[v.name] for v in model.graph.input if v.name in constants and v.name not in stored}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in added.items())
    _keep_inputs(model, lambda name: name not in added and name not in stored)


def _drop_unused_inputs(model: onnx.ModelProto) -> None:
    read = {name for node in iter_nodes(model.graph) for name in node.input} | {value.name for value in model.graph.output}
    _keep_inputs(model, read.__contains__)


def _keep_inputs(model: onnx.ModelProto, wanted: Any) -> None:
    kept = [value for value in model.graph.input if wanted(value.name)]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _require_one_input(model: onnx.ModelProto) -> None:
    names = [value.name for value in model.graph.input]
    if len(names) != 1:
        what = f"inputs {', '.join(names)}" if names else "no input"
        raise ModelError(f"the exported graph has {what}, but must have one image")


def _new_names(model: onnx.ModelProto, outputs: Sequence[str]) -> dict[str, str]:
    """New names of input and outputs: the framework's, else `output`, or `output_0` and so on."""
    current = [value.name for value in model.graph.output]
    count = len(current)
    wanted = list(outputs) if len(outputs) == count else ["output"] if count == 1 else [f"output_{k}" for k in range(count)]
    pairs = {model.graph.input[0].name: IMAGE} | dict(zip(current, wanted, strict=True))
    return {old: new for old, new in pairs.items() if old != new}


def rename_tensors(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Rename tensors in the whole model; a tensor that already has a new name is renamed too."""
    displaced = {name: f"{name}_inner" for name in names.values() if name not in names}
    moved = {**displaced, **names}
    if not moved:
        return
    for node in iter_nodes(model.graph):
        node.input[:] = [moved.get(name, name) for name in node.input]
        node.output[:] = [moved.get(name, name) for name in node.output]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        item.name = moved.get(item.name, item.name)


def _set_batch(model: onnx.ModelProto, batch: int | None) -> None:
    """Set the batch axis of the image, and of outputs whose batch is open; None for an open batch."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and (value.name == IMAGE or dims[0].dim_param):
            _set_dim(dims[0], batch)


def _set_dim(dim: Any, size: int | None) -> None:
    if size is None:
        dim.dim_param = "batch"
    else:
        dim.dim_value = size


def _refuse_unlist_operators(model: onnx.ModelProto) -> None:
    local = {function.domain for function in model.functions}
    strange = {f"{node.domain}.{node.op_type}" for node in iter_nodes(model.graph) if node.domain not in (*_STANDARD, *local)}
    if strange:
        raise ModelError(f"the exported graph has operators that are not in ONNX ({', '.join(sorted(strange))})")
    unknown = {
        node.op_type for node in iter_nodes(model.graph) if node.domain in ("", "ai.onnx") and not _is_known(node.op_type)
    }
    if unknown:
        raise ModelError(f"the exported graph has operators that are not in ONNX ({', '.join(sorted(unknown))})")


def _is_known(op_type: str) -> bool:
    return onnx.defs.has(op_type)
