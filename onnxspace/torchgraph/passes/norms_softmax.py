"""Layer and RMS normalisation and softmax that came in pieces, put back together.

A rule holds the statistics of a normalisation fixed, and its pieces don't say which of them are statistics.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.operators.normalisation import LayerNorm, RMSNorm
from onnxspace.torchgraph.operators.reductions import Reduce
from onnxspace.torchgraph.passes.norm_algebra import BINARY, REDUCTIONS, UNARY, Axes, Line, Share, Spread, Stored, Term, X
from onnxspace.torchgraph.view import alike, between, functions_of, is_closed, module_of, operator, replace_region, stored

_PASSING = frozenset({"Identity", "Cast", "Dropout"})
#: What a formula of these begins with.
_FIRST = frozenset({"ReduceMean", "ReduceMax", "Exp", "Pow", "Mul"})


def fuse_statistics(graph: GraphModule) -> None:
    """Replace every such formula by one submodule: LayerNormalization, RMSNormalization (x, scale, bias), Softmax (x)."""
    for start in list(graph.graph.nodes):
        while any(operator(user) in _FIRST for user in start.users) and _fused_behind(graph, start):
            pass


def _fused_behind(graph: GraphModule, start: Node) -> bool:
    """Whether a formula of `start` was found: the longest closed one."""
    terms = terms_of(graph, start)
    for end, term in reversed(terms.items()):
        made = _written(term)
        if made is not None and is_closed(region := between(end, terms), end):
            name, module, arguments = made
            replace_region(graph, region, alike(name, end), module, start, *arguments)
            return True
    return False


def terms_of(graph: GraphModule, start: Node) -> dict[Node, Term]:
    """Every node behind `start` that is a known term of it, in graph order."""
    terms: dict[Node, Term] = {start: X}

    def derived(node: Node) -> bool:
        term = _term(graph, node, terms)
        if term is not None:
            terms[node] = term
        return term is not None

    functions_of(start, derived)
    del terms[start]
    return terms


def _term(graph: GraphModule, node: Node, terms: dict[Node, Term]) -> Term | None:
    name = operator(node)
    if node.kwargs or not name:
        return None
    given = list(_operands(graph, node, terms))
    match given:
        case [a, *_] if name in REDUCTIONS and a is not None and (axes := _axes(graph, node)):
            return REDUCTIONS[name](a, axes)
        case [a, *_] if name in _PASSING and a is not None and _passes(graph, node):
            return a
        case [a] if name in UNARY and a is not None:
            return UNARY[name](a)
        case [a, b] if name in BINARY and a is not None and b is not None:
            return BINARY[name](a, b)
    return None


def _operands(graph: GraphModule, node: Node, terms: dict[Node, Term]) -> Iterator[Term | None]:
    for given in node.args:
        value = stored(graph, given)
        known = terms.get(given) if isinstance(given, Node) else None
        yield Stored(given, value) if value is not None and isinstance(given, Node) else known


def _axes(graph: GraphModule, node: Node) -> Axes | None:
    """The axes of a reduction that keeps them, where they are fixed."""
    module = module_of(graph, node)
    return tuple(sorted(module.axes)) if isinstance(module, Reduce) and module.keep and module.axes else None


def _passes(graph: GraphModule, node: Node) -> bool:
    """Whether a module leaves a single-precision number as it is."""
    value = torch.tensor([0.3])
    made = module_of(graph, node)(value)
    return isinstance(made, Tensor) and made.dtype == value.dtype and torch.equal(made, value)


def _written(term: Term) -> tuple[str, nn.Module, list[Node | None]] | None:
    """Operator, module and further arguments for a term that is a whole formula."""
    match term:
        case Share(axes) if len(axes) == 1:
            return "Softmax", nn.Softmax(axes[0]), []
        case Line(1, -1, axes, Spread(centred=True) as spread, bias) if axes == spread.axes:
            return "LayerNormalization", LayerNorm(_place(axes), spread.eps, 1), _without_end([spread.scale, bias])
        case Line(1, 0, _, Spread(centred=False) as spread, None):
            return "RMSNormalization", RMSNorm(_place(spread.axes), spread.eps, 1), _without_end([spread.scale])
    return None


def _place(axes: Axes) -> int | Axes:
    """The first of trailing axes, as the operators name them, or the axes themselves."""
    return axes[0] if axes == tuple(range(-len(axes), 0)) else axes


def _without_end(arguments: list[Node | None]) -> list[Node | None]:
    while arguments and arguments[-1] is None:
        arguments.pop()
    return arguments
