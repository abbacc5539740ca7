"""What a graph keeps for its backward pass, node by node, measured in one forward pass that keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from onnxspace.torchgraph.view import module_of


@dataclass(frozen=True)
class Unit:
    """Nodes between which a graph can't be cut, and what they keep for the backward pass of the measured images.

    `made` are the bytes of the values that they compute, by name, `reads` the names of values that they use, `saved` the names of
    values that their derivatives need; `own` are bytes of what else these need. Values that share their memory have one name.
    `largest` is the size of the largest value in bytes, `seconds` the time of the forward pass.
    """

    nodes: tuple[fx.Node, ...]
    made: Mapping[str, int]
    reads: frozenset[str]
    saved: frozenset[str]
    own: int
    largest: int
    seconds: float


@dataclass(frozen=True)
class Profile:
    """The `units` of a graph in order, and the names of the values that it returns (`outputs`)."""

    units: tuple[Unit, ...]
    outputs: frozenset[str]


def profile_graph(graph: fx.GraphModule, values: Tensor) -> Profile:
    """Run `graph` on `values`, float32 [images, …], and return its profile.

    The pass takes about the time and the memory of one without gradients: what it keeps of each unit is counted and dropped.
    """
    run = _Profiler(graph)
    measures = [run.measure(node, values) for node in graph.graph.nodes]
    steps = [step for step in measures if step is not None]
    return Profile(tuple(_join(steps[first:end]) for first, end in _divide(steps, run.glued)), frozenset(run.outputs))


@dataclass
class _Step:
    """One node, measured: fields as in `Unit`."""

    node: fx.Node
    made: dict[str, int] = field(default_factory=dict)
    reads: set[str] = field(default_factory=set)
    saved: set[str] = field(default_factory=set)
    own: int = 0
    largest: int = 0
    seconds: float = 0.0


class _Profiler:
    """The values that are still needed, by node, and the names of their memory; `glued` are pairs of nodes that stay together."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        self.values: dict[fx.Node, Any] = {}
        self.owners: dict[int, str] = {}
        self.left = {node: len(node.users) for node in graph.graph.nodes}
        self.weights = {tensor.untyped_storage().data_ptr() for tensor in (*graph.parameters(), *graph.buffers())}
        self.glued: list[tuple[fx.Node, fx.Node]] = []
        self.outputs: set[str] = set()

    def measure(self, node: fx.Node, values: Tensor) -> _Step | None:
        """Run one node; returns None for those that compute nothing."""
        if node.op == "placeholder":
            self._store(node, values.detach().requires_grad_(True))
            return None
        if node.op == "get_attr":
            owner, _, name = str(node.target).rpartition(".")
            self.values[node] = getattr(self.graph.get_submodule(owner), name)
            return None
        if node.op == "output":
            self.outputs |= {name for given in node.all_input_nodes for name in self._names(self.values[given])}
            return None
        return self._compute(node)

    def _compute(self, node: fx.Node) -> _Step:
        step, kept = _Step(node), list[torch.UntypedStorage]()
        args = fx.map_arg(node.args, self.values.__getitem__)
        named: dict[str, Any] = {key: fx.map_arg(given, self.values.__getitem__) for key, given in node.kwargs.items()}
        start = time.perf_counter()
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.untyped_storage()), _refuse):
            call = module_of(self.graph, node) if node.op == "call_module" else node.target
            out = call(*args, **named)  # type: ignore[operator]
        step.seconds = time.perf_counter() - start
        self._note(step, out, kept)
        self._store(node, out)
        self._release(node)
        return step

    def _note(self, step: _Step, out: Any, kept: list[torch.UntypedStorage]) -> None:
        """Enter the values that a step computes, reads and keeps."""
        node = step.node
        step.reads |= {name for given in node.all_input_nodes for name in self._names(self.values[given])}
        for number, tensor in enumerate(_tensors(out)):
            storage = tensor.untyped_storage()
            if storage.nbytes() and storage.data_ptr() not in self.owners and storage.data_ptr() not in self.weights:
                self.owners[storage.data_ptr()] = name = f"{node.name}:{number}"
                step.made[name] = storage.nbytes()
        step.largest = max((tensor.numel() * tensor.element_size() for tensor in _tensors(out)), default=0)
        each = {storage.data_ptr(): storage.nbytes() for storage in kept}
        step.saved |= {self.owners[place] for place in each if place in self.owners}
        step.own = sum(size for place, size in each.items() if place not in self.owners and place not in self.weights)

    def _names(self, value: Any) -> Iterator[str]:
        for tensor in _tensors(value):
            if (name := self.owners.get(tensor.untyped_storage().data_ptr())) is not None:
                yield name

    def _store(self, node: fx.Node, value: Any) -> None:
        """Keep a value for its users, without what its derivative needs, unless one of them overwrites it."""
        overwritten = [user for user in node.users if _overwrites(self.graph, user)]
        bound = overwritten if isinstance(value, Tensor) else list(node.users)
        self.glued += [(node, user) for user in bound]
        if node.op == "placeholder":
            self.owners[value.untyped_storage().data_ptr()] = "image"
        elif isinstance(value, Tensor) and value.requires_grad and not overwritten:
            value = value.detach().requires_grad_(True)
        self.values[node] = value

    def _release(self, node: fx.Node) -> None:
        """Drop the values that no other node reads."""
        for given in node.all_input_nodes:
            self.left[given] -= 1
        for used in [*node.all_input_nodes, node]:
            if self.left[used] <= 0 and used in self.values:
                del self.values[used]
        alive = {tensor.untyped_storage().data_ptr() for value in self.values.values() for tensor in _tensors(value)}
        self.owners = {place: name for place, name in self.owners.items() if place in alive}


def _refuse(_nothing: None) -> Tensor:
    raise AssertionError("the graph of a profile has no backward pass")


def _tensors(value: Any) -> list[Tensor]:
    given = value if isinstance(value, (tuple, list)) else (value,)
    return [item for item in given if isinstance(item, Tensor)]


def _overwrites(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a node may write its result to the memory of its input."""
    module = module_of(graph, node) if node.op == "call_module" else None
    return bool(getattr(module, "inplace", False) or getattr(module, "in_place", False))


def _divide(steps: Sequence[_Step], glued: Sequence[tuple[fx.Node, fx.Node]]) -> Iterator[tuple[int, int]]:
    """The positions of the steps of each unit: first, and behind the last."""
    places = {step.node: place for place, step in enumerate(steps)}
    ends: dict[int, int] = {}
    for first, second in glued:
        if first in places and second in places:
            ends[places[first]] = max(ends.get(places[first], 0), places[second])
    begin = reach = 0
    for place in range(len(steps)):
        if place > reach:
            yield begin, place
            begin = reach = place
        reach = max(reach, ends.get(place, place))
    if steps:
        yield begin, len(steps)


def _join(steps: Sequence[_Step]) -> Unit:
    made = {name: size for step in steps for name, size in step.made.items()}
    reads = frozenset(name for step in steps for name in step.reads if name not in made)
    saved = frozenset(name for step in steps for name in step.saved)
    return Unit(
        tuple(step.node for step in steps), made, reads, saved, sum(step.own for step in steps),
        max(step.largest for step in steps), sum(step.seconds for step in steps),
    )  # fmt: skip
