"""Which operators a TensorFlow graph may have: those that tf2onnx converts, those of variables and calls, and those that save.

Operators that save and restore variables are in every SavedModel. They may be where loading and running it do not come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxspace.errors import ModelError

#: Variables, calls, control flow and lists, which tf2onnx or freezing replaces by other operators.
_STRUCTURE = frozenset({
    "Assert", "Assign", "AssignVariableOp", "Case", "DisableCopyOnRead", "Empty", "EmptyTensorList", "Enter", "Exit", "FakeParam",
    "LinSpace", "LoopCond", "Merge", "NextIteration", "PartitionedCall", "PreventGradient", "Rank", "ReadVariableOp",
    "RefEnter", "RefExit", "RefMerge", "RefNextIteration", "RefSwitch", "Snapshot", "StatefulPartitionedCall",
    "StatelessCase", "Switch", "TensorArrayGatherV3", "TensorArrayReadV3", "TensorArrayScatterV3", "TensorArraySizeV3",
    "TensorArrayV3", "TensorArrayWriteV3", "TensorListConcatV2", "TensorListElementShape", "TensorListPopBack",
    "TensorListPushBack", "ToBool", "VarHandleOp", "VarIsInitializedOp", "Variable", "VariableV2", "Xdivy", "Xlogy", "_Arg", "_Retval",
})  # fmt: skip
#: What tf2onnx lists, and that takes values from elsewhere than the graph.
_SOURCES = frozenset({
    "FIFOQueueV2", "IteratorGetNext", "IteratorV2", "QueueDequeueManyV2", "QueueDequeueUpToV2", "QueueDequeueV2", "SentencepieceOp",
    "SentencepieceTokenizeOp",
})  # fmt: skip
_SAVING = frozenset({"MergeV2Checkpoints", "RestoreV2", "SaveV2", "ShardedFilename", "StaticRegexFullMatch", "StringJoin"})
_RESTORING = "RestoreV2"


def list_operators() -> frozenset[str]:
    """The operators that only compute: what the installed tf2onnx converts, and what it or freezing takes away before."""
    import tf2onnx.tfonnx  # noqa: F401
    from tf2onnx import handler

    versions = (version for of_domain in handler.tf_op.get_opsets().values() for version in of_domain)
    converted = {name for version in versions for name in version if not name.startswith("TFL_")}
    return frozenset(converted - _SOURCES | _STRUCTURE)


def check_graph(graph: Any, path: Path, known: frozenset[str]) -> None:
    """Check all operators of a frozen graph (a GraphDef) and its functions. Raises ModelError."""
    _refuse_others((node.op for node in _all_nodes(graph)), known | _function_names(graph), path)


def _function_names(graph: Any) -> set[str]:
    """Functions of a graph, which may be called like operators; one with the name of an operator is left out."""
    from tensorflow.python.framework import op_def_registry

    return {f.signature.name for f in graph.library.function if op_def_registry.get(f.signature.name) is None}


def check_saved_model(meta: Any, path: Path, known: frozenset[str]) -> None:
    """Check a SavedModel's graph (a MetaGraphDef): what loading or its signatures run. Raises ModelError."""
    known = known | _function_names(meta.graph_def)
    _refuse_others((node.op for node in _all_nodes(meta.graph_def)), known | _SAVING, path)
    if meta.HasField("object_graph_def"):
        called = _reachable_functions(meta)
        _refuse_others((node.op for function in called for node in function.node_def), known, path)
    else:
        _check_first_version(meta, path, known)


def _all_nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def _refuse_others(operators: Iterable[str], known: frozenset[str], path: Path) -> None:
    found = sorted(set(operators) - known)
    if found:
        names = ", ".join(name[:60] for name in found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise ModelError(
            f"{path} has operators that are not converted, and can access files or run code ({names}). "
            "If you trust it, add --allow-code."
        )


def _reachable_functions(meta: Any) -> list[Any]:
    """The functions that objects of the model are, and all that these call; its checkpoint is read by TensorFlow itself."""
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    graph = meta.object_graph_def
    waiting = [*graph.concrete_functions, *(name for node in graph.nodes for name in _functions_of(node))]
    found: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found[name] = functions[name]
            waiting.extend(_called_by(functions[name].node_def))
    return list(found.values())


def _functions_of(node: Any) -> Iterator[str]:
    yield from node.function.concrete_functions
    yield node.bare_concrete_function.concrete_function_name
    yield node.captured_tensor.concrete_function


def _called_by(nodes: Iterable[Any]) -> Iterator[str]:
    for node in nodes:
        yield node.op  # a function may be called like an operator
        for value in node.attr.values():
            yield value.func.name
            yield from (each.name for each in value.list.func)


def _check_first_version(meta: Any, path: Path, known: frozenset[str]) -> None:
    """Check what restoring, initialising and calling run in a graph of TensorFlow 1: all that leads to their nodes."""
    nodes = {node.name: node for node in meta.graph_def.node}
    filename = _node_of(meta.saver_def.filename_tensor_name)
    reached = _ancestors(nodes, _roots(meta))
    operators = {
        node.op for node in reached if not (node.op == _RESTORING and node.input and _node_of(node.input[0]) == filename)
    }
    _refuse_others(operators, known, path)
    _refuse_others((node.op for function in meta.graph_def.library.function for node in function.node_def), known, path)


def _roots(meta: Any) -> list[str]:
    names = [meta.saver_def.restore_op_name]
    for signature in meta.signature_def.values():
        names += [tensor.name for tensor in (*signature.outputs.values(), *signature.inputs.values())]
    for collection in meta.collection_def.values():
        names += list(collection.node_list.value)
    return [_node_of(name) for name in names]


def _node_of(tensor: str) -> str:
    return tensor.lstrip("^").partition(":")[0]


def _ancestors(nodes: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    waiting, found = list(names), dict[str, Any]()
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in found:
            found[name] = nodes[name]
            waiting.extend(map(_node_of, nodes[name].input))
    return list(found.values())
