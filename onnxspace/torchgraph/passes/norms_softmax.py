"""Fusion of layer normalisation, RMS normalisation and softmax that were exported as several operators.

LRP treats the statistics of a normalisation as constants, and they can't be identified from the parts alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.operators.normalisation import LayerNorm, RMSNorm
from onnxspace.torchgraph.operators.reductions import Reduce
from onnxspace.torchgraph.passes.norm_algebra import (
    BINARY,
    REDUCTIONS,
    UNARY,
    Axes,
    ConstantTerm,
    LinearTerm,
    SoftmaxTerm,
    SpreadTerm,
    Term,
    X,
)
from onnxspace.torchgraph.view import (
    constant_value,
    functions_of,
    is_closed,
    module_of,
    operator_of,
    region_ending_at,
    replace_region,
    submodule_name,
)

_PASSING = frozenset({"Identity", "Cast", "Dropout"})
#: Operators that such a formula begins with.
_FIRST = frozenset({"ReduceMean", "ReduceMax", "Exp", "Pow", "Mul"})


def fuse_norms_and_softmax(graph: GraphModule) -> None:
    """Replace every such formula in `graph`, in place: LayerNormalization, RMSNormalization (x, scale, bias), Softmax (x)."""
    for start in list(graph.graph.nodes):
        while any(operator_of(user) in _FIRST for user in start.users) and _fuse_longest(graph, start):
            pass


def _fuse_longest(graph: GraphModule, start: Node) -> bool:
    """Replace the longest closed formula of `start`; False where there is none."""
    terms = terms_of(graph, start)
    for end, term in reversed(terms.items()):
        formula = _module_for(term)
        if formula is not None and is_closed(region := region_ending_at(end, terms), end):
            name, module, arguments = formula
            replace_region(graph, region, submodule_name(name, end), module, start, *arguments)
            return True
    return False


def terms_of(graph: GraphModule, start: Node) -> dict[Node, Term]:
    """The term of every node that can be expressed by `start`, in graph order."""
    terms: dict[Node, Term] = {start: X}

    def accepts(node: Node) -> bool:
        term = _term_of(graph, node, terms)
        if term is not None:
            terms[node] = term
        return term is not None

    functions_of(start, accepts)
    del terms[start]
    return terms


def _term_of(graph: GraphModule, node: Node, terms: dict[Node, Term]) -> Term | None:
    name = operator_of(node)
    if node.kwargs or not name:
        return None
    given = list(_operands(graph, node, terms))
    match given:
        case [a, *_] if name in REDUCTIONS and a is not None and (axes := _reduction_axes(graph, node)):
            return REDUCTIONS[name](a, axes)
        case [a, *_] if name in _PASSING and a is not None and _is_passing(graph, node):
            return a
        case [a] if name in UNARY and a is not None:
            return UNARY[name](a)
        case [a, b] if name in BINARY and a is not None and b is not None:
            return BINARY[name](a, b)
    return None


def _operands(graph: GraphModule, node: Node, terms: dict[Node, Term]) -> Iterator[Term | None]:
    for given in node.args:
        value = constant_value(graph, given)
        known = terms.get(given) if isinstance(given, Node) else None
        yield ConstantTerm(given, value) if value is not None and isinstance(given, Node) else known


def _reduction_axes(graph: GraphModule, node: Node) -> Axes | None:
    """The axes of a reduction with constant axes that keeps them as size one; None for any other."""
    module = module_of(graph, node)
    return tuple(sorted(module.axes)) if isinstance(module, Reduce) and module.keep and module.axes else None


def _is_passing(graph: GraphModule, node: Node) -> bool:
    """Whether a module returns float32 values unchanged."""
    value = torch.tensor([0.3])
    result = module_of(graph, node)(value)
    return isinstance(result, Tensor) and result.dtype == value.dtype and torch.equal(result, value)


def _module_for(term: Term) -> tuple[str, nn.Module, list[Node | None]] | None:
    """Operator, module and further arguments of a term that is a complete formula; None for any other term."""
    match term:
        case SoftmaxTerm(axes) if len(axes) == 1:
            return "Softmax", nn.Softmax(axes[0]), []
        case LinearTerm(1, -1, axes, SpreadTerm(centred=True) as spread, bias) if axes == spread.axes:
            return (
                "LayerNormalization",
                LayerNorm(_axis_argument(axes), spread.eps, 1),
                _strip_trailing_none([spread.scale, bias]),
            )
        case LinearTerm(1, 0, _, SpreadTerm(centred=False) as spread, None):
            return "RMSNormalization", RMSNorm(_axis_argument(spread.axes), spread.eps, 1), _strip_trailing_none([spread.scale])
    return None


def _axis_argument(axes: Axes) -> int | Axes:
    """The first axis if the axes are the trailing ones, as ONNX operators specify them, or else the axes."""
    return axes[0] if axes == tuple(range(-len(axes), 0)) else axes


def _strip_trailing_none(arguments: list[Node | None]) -> list[Node | None]:
    while arguments and arguments[-1] is None:
        arguments.pop()
    return arguments
