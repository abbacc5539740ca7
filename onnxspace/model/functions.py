"""Model-local functions: their calls are replaced by their nodes.

A function may declare defaults of its attributes, which apply where a call leaves them out. ONNX's inliner drops these, so they
are written into the calls first.
"""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
import onnx.inliner

from onnxspace.errors import ModelError
from onnxspace.model.graph import iter_nodes

MAX_NODES = 1_000_000  # after functions are inlined; the largest networks have about ten thousand
_WITHOUT = "Export it without functions."
_Call = tuple[str, str, str]


def inline_functions(path: str | Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace all calls of model-local functions by the functions' nodes; a model without functions is returned as it is.

    `path` names the model in errors. Raises ModelError for functions that call themselves, expand to too many nodes, or can't
    be inlined.
    """
    if not model.functions:
        return model
    try:
        if _count_inlined_nodes(model) > MAX_NODES:
            raise ModelError(f"{path}: its model-local functions expand to more than {MAX_NODES} nodes. {_WITHOUT}")
        return _inline(model)
    except ModelError:
        raise
    except CycleError as error:
        raise ModelError(f"{path}: its model-local functions call themselves. {_WITHOUT}") from error
    except Exception as error:  # the inliner raises bare RuntimeError and protobuf errors
        raise ModelError(
            f"{path}: its model-local functions can't be inlined ({str(error).rstrip('.')}). {_WITHOUT}"
        ) from error


def _inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """Inline callers before what they call, since a call inside a function may pass on an attribute that is left out."""
    if not any(function.attribute_proto for function in model.functions):
        return onnx.inliner.inline_local_functions(model)
    whole, model = model, onnx.ModelProto()
    model.CopyFrom(whole)
    functions = {_key_of(function): function for function in whole.functions}
    for key in reversed(list(TopologicalSorter(_calls_by_function(whole)).static_order())):
        if key in functions and functions[key].attribute_proto:
            model = _inline_callers(model, key)
            _write_defaults(model, functions[key])
    return onnx.inliner.inline_local_functions(model)


def _inline_callers(model: onnx.ModelProto, key: _Call) -> onnx.ModelProto:
    """Inline every function that calls the one of `key`, directly or not, so that all calls of it are in the graph."""
    calls, callers = _calls_by_function(model), {key}
    while more := {name for name, called in calls.items() if name not in callers and not callers.isdisjoint(called)}:
        callers |= more
    callers.discard(key)
    return onnx.inliner.inline_selected_functions(model, sorted({name[:2] for name in callers})) if callers else model


def _write_defaults(model: onnx.ModelProto, function: onnx.FunctionProto) -> None:
    """Add the defaults of a function's attributes to those calls that leave them out, in place."""
    for node in iter_nodes(model.graph):
        if (node.domain, node.op_type, node.overload) == _key_of(function):
            given = {attribute.name for attribute in node.attribute}
            node.attribute.extend(default for default in function.attribute_proto if default.name not in given)


def _key_of(function: onnx.FunctionProto) -> _Call:
    return function.domain, function.name, function.overload


def _calls_by_function(model: onnx.ModelProto) -> dict[_Call, Counter[_Call]]:
    """How often each function calls what."""
    return {_key_of(f): Counter((n.domain, n.op_type, n.overload) for n in iter_nodes(f)) for f in model.functions}


def _count_inlined_nodes(model: onnx.ModelProto) -> int:
    """Count the nodes after inlining without inlining: nested functions can make their number grow exponentially.

    Raises CycleError for recursive functions, on which some releases of the inliner crash.
    """
    calls = _calls_by_function(model)
    size: dict[_Call, int] = {}
    for name in TopologicalSorter({name: calls.keys() & called.keys() for name, called in calls.items()}).static_order():
        size[name] = min(MAX_NODES + 1, sum(count * size.get(callee, 1) for callee, count in calls[name].items()))
    return sum(size.get((node.domain, node.op_type, node.overload), 1) for node in iter_nodes(model.graph))
