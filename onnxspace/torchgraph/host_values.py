"""Numbers that operators read on the host, such as shapes and axes: in the graph as Python numbers.

A GPU that computes them must be waited for, and neither Torch's compiler nor a CUDA graph takes what is read from a tensor. Stored ones
become lists. Those that are computed from sizes of tensors are computed for several numbers of images in advance, without data: what
is the same for all is a constant, the rest a multiple of the number of images and a remainder.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from onnxspace.torchgraph.registry import host_inputs
from onnxspace.torchgraph.view import constant_value, module_of, operator_of

#: The most numbers that are written into a graph: more than the axes of any tensor.
_MOST = 64
#: Numbers of images for which sizes are computed: two determine a line, the others confirm it.
_COUNTS = (1, 2, 3, 5)
_SIZES = ("Shape", "Size")
_RANDOM = ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")


def store_host_values(graph: GraphModule) -> None:
    """Write stored numbers that operators read on the host into `graph` as lists, in place."""
    for node in graph.graph.nodes:
        for key, given in host_arguments(graph, node):
            value = constant_value(graph, given)
            if value is not None and value.numel() <= _MOST:
                _set_argument(node, key, value.reshape(-1).tolist())


def host_arguments(graph: GraphModule, node: Node) -> Iterator[tuple[int | str, Any]]:
    """Yield the arguments that a node's module reads on the host, with their positions, or names where they are given by name."""
    if node.op != "call_module":
        return
    module = module_of(graph, node)
    positions = host_inputs(module)
    yield from ((at, node.args[at]) for at in positions if at < len(node.args))
    if node.kwargs:
        names = list(inspect.signature(module.forward).parameters)
        yield from ((names[at], node.kwargs[names[at]]) for at in positions if names[at] in node.kwargs)


def _set_argument(node: Node, key: int | str, value: Any) -> None:
    if isinstance(key, int):
        node.update_arg(key, value)
    else:
        node.update_kwarg(key, value)


class Size(nn.Module):
    """Numbers that depend on the number of images alone: `base + slope · images`, as a list."""

    def __init__(self, base: Sequence[int], slope: Sequence[int]) -> None:
        super().__init__()
        self.base, self.slope = list(base), list(slope)

    def forward(self, image: Tensor) -> list[int]:
        return [base + slope * image.shape[0] for base, slope in zip(self.base, self.slope, strict=True)]


class SizeTensor(nn.Module):
    """The same as a tensor, where the weights are."""

    base: Tensor
    slope: Tensor

    def __init__(self, base: Tensor, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("base", base)
        self.register_buffer("slope", slope)

    def forward(self, image: Tensor) -> Tensor:
        return torch.add(self.base, self.slope, alpha=image.shape[0])


def fold_sizes(graph: GraphModule, shape: Sequence[int]) -> None:
    """Replace what `graph` computes from sizes of tensors by numbers, in place; the input has `shape`, with images as its first axis.

    The graph stays as it is where its tensors' shapes can't be found without data.
    """
    sized = _find_sized(graph)
    if not sized or not all(isinstance(size, int) for size in shape):
        return
    found = _compute_sizes(graph, sized, shape)
    if not found:
        return
    for inner in (sized, []):  # the second round: within what the first one could not replace
        for node in [node for node in graph.graph.nodes if node in set(sized)]:
            values = [one[node] for one in found]
            if all(isinstance(value, Tensor) for value in values):
                _replace(graph, node, inner, values)
        graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    graph.recompile()


def _find_sized(graph: GraphModule) -> list[Node]:
    """The nodes whose values depend on sizes of tensors and on few stored values alone, in the order of the graph."""
    found: dict[Node, None] = {}
    for node in graph.graph.nodes:
        given = node.all_input_nodes
        known = node.op.startswith("call") and all(n in found or _is_small(graph, n) for n in given)
        if operator_of(node) in _SIZES or (known and operator_of(node) not in _RANDOM):
            found[node] = None
    return list(found) if any(operator_of(node) in _SIZES for node in found) else []


def _compute_sizes(graph: GraphModule, sized: Sequence[Node], shape: Sequence[int]) -> list[dict[Node, Any]]:
    """The values of all nodes for `_COUNTS` images, for one where the graph takes no other number; none where it needs data."""
    found: list[dict[Node, Any]] = []
    for count in _COUNTS:
        try:
            found.append(_Shapes(graph, sized).run_with(count, shape))
        except Exception:  # Torch's errors on operators that need values, or on shapes that do not match
            return found[:1]
    return found


def _is_small(graph: GraphModule, node: Node) -> bool:
    value = constant_value(graph, node)
    return value is not None and value.numel() <= _MOST


class _Shapes(torch.fx.Interpreter):
    """Runs a graph without data, except for the nodes `sized`, which are computed."""

    def __init__(self, graph: GraphModule, sized: Sequence[Node]) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.graph_module, self.sized = graph, set(sized)

    def run_with(self, images: int, shape: Sequence[int]) -> dict[Node, Any]:
        """Return the values of all nodes for so many images."""
        with torch.no_grad():
            self.run(torch.empty((images, *shape[1:]), device="meta"))
        return self.env

    def run_node(self, n: Node) -> Any:
        if n.op != "call_module" or n in self.sized:
            return self._run_sized(n) if n in self.sized else super().run_node(n)
        kept = {given for _, given in host_arguments(self.graph_module, n) if isinstance(given, Node)}
        args, kwargs = torch.fx.map_arg((n.args, n.kwargs), lambda given: self._find_value(given, kept))
        module = module_of(self.graph_module, n)
        state = {name: value.to("meta") for name, value in (*module.named_parameters(), *module.named_buffers())}
        return torch.func.functional_call(module, state, args, kwargs)

    def _find_value(self, node: Node, kept: set[Node]) -> Any:
        value = self.env[node]
        return value if node in kept or not isinstance(value, Tensor) else value.to("meta")

    def _run_sized(self, node: Node) -> Any:
        if operator_of(node) in _SIZES:
            value = self.env[node.all_input_nodes[0]]
            return module_of(self.graph_module, node)(torch.zeros(()).expand(value.shape))
        return super().run_node(node)


def _replace(graph: GraphModule, node: Node, sized: Sequence[Node], values: Sequence[Tensor]) -> None:
    """Replace `node` where nodes that are not `sized` read it."""
    for user in [user for user in node.users if user not in sized and user.op != "output"]:
        on_host = [key for key, given in host_arguments(graph, user) if given is node]
        for key in on_host:
            if (numbers := _to_host(graph, user, values)) is not None:
                _set_argument(user, key, numbers)
        if node in user.all_input_nodes and not on_host and (tensor := _to_tensor(graph, user, values)) is not None:
            user.replace_input_with(node, tensor)


def _split(values: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Base and slope of integers for `_COUNTS` images; None where they lie on no line."""
    first, second = values[0], values[1]
    if any(value.shape != first.shape for value in values) or first.numel() > _MOST:
        return None
    slope = (second - first) if first.dtype != torch.bool else torch.zeros_like(first)
    fits = all(torch.equal(value, first + (count - 1) * slope) for count, value in zip(_COUNTS, values, strict=True))
    return (first - slope, slope) if fits else None


def _to_host(graph: GraphModule, user: Node, values: Sequence[Tensor]) -> list[int] | Node | None:
    if all(torch.equal(value, values[0]) for value in values):
        return [*values[0].reshape(-1).tolist()] if values[0].numel() <= _MOST else None
    if values[0].is_floating_point() or (line := _split(values)) is None:
        return None
    base, slope = (part.reshape(-1).tolist() for part in line)
    if operator_of(user) == "Reshape" and sum(n != 0 for n in slope) == 1 and not {0, -1} & set(base):
        return [-1 if n else size for size, n in zip(base, slope, strict=True)]
    return _insert(graph, user, Size(base, slope))


def _to_tensor(graph: GraphModule, user: Node, values: Sequence[Tensor]) -> Node | None:
    if all(torch.equal(value, values[0]) for value in values):
        return _store(graph, user, values[0])
    line = None if values[0].is_floating_point() else _split(values)
    return None if line is None else _insert(graph, user, SizeTensor(*line))


def _store(graph: GraphModule, user: Node, value: Tensor) -> Node:
    """Store a constant as the graph's other ones are."""
    weights = graph.get_submodule("weights")
    name = _find_name(dict(weights.named_buffers(remove_duplicate=False)), "size_{}")
    weights.register_buffer(name, value)
    with graph.graph.inserting_before(user):
        return graph.graph.get_attr(f"weights.{name}")


def _insert(graph: GraphModule, user: Node, module: nn.Module) -> Node:
    """Call a module with the graph's input before `user`, by a name of the operator Size."""
    image = next(node for node in graph.graph.nodes if node.op == "placeholder")
    name = _find_name(graph._modules, "Size_{}n")
    graph.add_submodule(name, module)
    with graph.graph.inserting_before(user):
        return graph.graph.call_module(name, (image,))


def _find_name(taken: Container[str], form: str) -> str:
    """The first name of this form that is not taken."""
    return next(name for name in map(form.format, itertools.count()) if name not in taken)
