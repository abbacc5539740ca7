"""What an exporter leaves behind: stored values that are inputs, odd names, paths of somebody's machine, stale shapes."""

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
    """The same network with one named input of open or single batch, named outputs, and nothing that tells of a machine.

    The message itself is changed. Raises ModelError, which names an input without a value or an unknown operator.
    """
    _strip_metadata(model)
    store_constants(model, loaded.constants)
    _drop_unused_inputs(model)
    _require_one_input(model)
    rename_tensors(model, _new_names(model, loaded.outputs))
    _set_batch(model, None if dynamic else loaded.batch or 1)
    _refuse_unknown_operators(model)
    return model


def _strip_metadata(model: onnx.ModelProto) -> None:
    """Metadata of nodes (file paths, stack traces), documentation, and shapes that may be stale."""
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
    """Make inputs whose values are known, or lie in the file already, stored values alone."""
    there = {tensor.name for tensor in model.graph.initializer}
    known = {v.name: constants[v.name] for v in model.graph.input if v.name in constants and v.name not in there}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in known.items())
    _keep_inputs(model, lambda name: name not in known and name not in there)


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
        raise ModelError(f"the exported graph has {what} where one image is wanted")


def _new_names(model: onnx.ModelProto, outputs: Sequence[str]) -> dict[str, str]:
    """New names of input and outputs: those of the framework, else `output` or `output_0` and so on."""
    there = [value.name for value in model.graph.output]
    count = len(there)
    wanted = list(outputs) if len(outputs) == count else ["output"] if count == 1 else [f"output_{k}" for k in range(count)]
    pairs = {model.graph.input[0].name: IMAGE} | dict(zip(there, wanted, strict=True))
    return {old: new for old, new in pairs.items() if old != new}


def rename_tensors(model: onnx.ModelProto, names: Mapping[str, str]) -> None:
    """Give tensors other names, everywhere; whatever has such a name already is moved out of the way."""
    taken = {name: f"{name}_inner" for name in names.values() if name not in names}
    moved = {**taken, **names}
    if not moved:
        return
    for node in iter_nodes(model.graph):
        node.input[:] = [moved.get(name, name) for name in node.input]
        node.output[:] = [moved.get(name, name) for name in node.output]
    for item in (*model.graph.input, *model.graph.output, *model.graph.initializer, *model.graph.value_info):
        item.name = moved.get(item.name, item.name)


def _set_batch(model: onnx.ModelProto, batch: int | None) -> None:
    """Say of the first axis of the image what it is; outputs follow where the exporter said that theirs is open."""
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if dims and (value.name == IMAGE or dims[0].dim_param):
            _set_dim(dims[0], batch)


def _set_dim(dim: Any, size: int | None) -> None:
    if size is None:
        dim.dim_param = "batch"
    else:
        dim.dim_value = size


def _refuse_unknown_operators(model: onnx.ModelProto) -> None:
    local = {function.domain for function in model.functions}
    strange = {f"{node.domain}.{node.op_type}" for node in iter_nodes(model.graph) if node.domain not in (*_STANDARD, *local)}
    if strange:
        raise ModelError(f"the exported graph has operators that ONNX does not know ({', '.join(sorted(strange))})")
    unknown = {
        node.op_type for node in iter_nodes(model.graph) if node.domain in ("", "ai.onnx") and not _is_known(node.op_type)
    }
    if unknown:
        raise ModelError(f"the exported graph has operators that ONNX does not know ({', '.join(sorted(unknown))})")


def _is_known(op_type: str) -> bool:
    return onnx.defs.has(op_type)
