"""Run a network part by part, so that the values of all its tensors are seen and few of them are in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from onnxspace.errors import ModelError, describe, is_out_of_memory
from onnxspace.model.graph import Graph
from onnxspace.model.network import Network
from onnxspace.model.runtime import Runner
from onnxspace.model.shapes import count_elements, infer_shapes
from onnxspace.storage.printable import shorten

Array = NDArray[Any]
Feed = Mapping[str, Array]
#: The value that the readers of a tensor get instead of its own.
Override = Callable[[str], Array]
#: Nodes of a part, and bytes of the tensors that it computes.
_MOST_NODES, _MOST_BYTES = 64, 2**27
_OTHER = "__replaced"
#: The most time for a part, what ONNX Runtime says where it is over, and the operators that may never end.
MOST_SECONDS, _STOPPED, _LOOPS, _MOST_NAME = 60.0, "terminate flag", frozenset({"Loop", "Scan"}), 60


@dataclass(frozen=True)
class _Part:
    """A loaded part of a graph: the tensors that it reads and computes, by name; without a runner where nobody reads these."""

    runner: Runner | None
    reads: tuple[str, ...]
    gives: tuple[str, ...]


class SegmentedRun:
    """A network that is run in parts of consecutive nodes, each by ONNX Runtime without optimisation.

    `watched` names the tensors that are yielded; readers of those in `overridden` get other values. `feed` has an example of each
    input, by which the sizes of tensors are estimated; `path` names the model in errors.
    """

    def __init__(
        self, network: Network, path: str, feed: Feed, watched: Collection[str], overridden: Collection[str] = ()
    ) -> None:
        self.network, self.path = network, path
        self.watched, self.overridden = frozenset(watched), frozenset(overridden)
        self.graph: Graph = network.graph
        self._bounds = _find_bounds(network, {name: value.shape for name, value in feed.items()})
        self._last = _find_last_reads(self.graph)
        self._parts: dict[tuple[int, int], _Part] = {}

    def iterate(self, feed: Feed, override: Override | None = None) -> Iterator[dict[str, Array]]:
        """Yield the watched tensors of each part by name, inputs first. Raises ModelError where ONNX Runtime can't run the network."""
        live = dict(feed)
        yield {name: value for name, value in live.items() if name in self.watched}
        start = 0
        while start < len(self.graph.nodes):
            stop, values = self._run_from(start, live, override)
            yield {name: value for name, value in values.items() if name in self.watched}
            live |= values
            live = {name: value for name, value in live.items() if self._last.get(name.removesuffix(_OTHER), -1) >= stop}
            start = stop

    def _run_from(self, start: int, live: dict[str, Array], override: Override | None) -> tuple[int, dict[str, Array]]:
        """Run the part at `start`, together with the next ones where its tensors can't be passed on. Returns its end and tensors."""
        while True:
            stop = next(bound for bound in self._bounds if bound > start)
            try:
                return stop, self._run_part(start, stop, live, override)
            except (MemoryError, ModelError):
                raise
            except Exception as error:  # ONNX Runtime's errors share no base class
                if _STOPPED in str(error):
                    raise ModelError(self._describe_stopped(start, stop)) from error
                if stop == len(self.graph.nodes) or is_out_of_memory(error):
                    raise ModelError(
                        f"{self.path} can't be run by ONNX Runtime ({describe(error)}). Export it again."
                    ) from error
                self._bounds.remove(stop)

    def _run_part(self, start: int, stop: int, live: dict[str, Array], override: Override | None) -> dict[str, Array]:
        if override is not None:
            given = (name for node in self.graph.nodes[start:stop] for name in node.output if name in self.overridden)
            live |= {name + _OTHER: override(name) for name in given if name + _OTHER not in live}
        if (start, stop) not in self._parts:
            self._parts[start, stop] = self._load(start, stop, live)
        part = self._parts[start, stop]
        values = part.runner({name: live[name] for name in part.reads}, MOST_SECONDS) if part.runner is not None else []
        found = {name: np.asarray(value) for name, value in zip(part.gives, values, strict=True)}
        if any(isinstance(value, list | dict) or value is None for value in values):
            raise TypeError("a tensor between two parts is a sequence, or is missing")
        return found

    def _describe_stopped(self, start: int, stop: int) -> str:
        nodes = self.graph.nodes[start:stop]
        loop = next((node for node in nodes if node.op_type in _LOOPS), nodes[0])
        where = f"{shorten(loop.name or loop.output[0], _MOST_NAME)} ({loop.op_type})"
        return f"{self.path} was stopped after {MOST_SECONDS:.0f} s near {where}, which may never end. Leave it out, or export it again."

    def _load(self, start: int, stop: int, live: Mapping[str, Array]) -> _Part:
        nodes = self.graph.nodes[start:stop]
        inside = {name for node in nodes for name in node.output if name}
        given = dict.fromkeys(name for i in range(start, stop) for name in self.graph.reads[i] if name not in inside)
        stored = [name for name in given if name in self.graph.initializers and name not in live]
        gives = [name for name in inside if name in self.watched or self._last.get(name, -1) >= stop]
        proto = onnx.ModelProto(ir_version=self.network.proto.ir_version, opset_import=self.network.proto.opset_import)
        proto.graph.name = "part"
        proto.graph.node.extend(map(self._redirect, nodes))
        reads = tuple(dict.fromkeys(self._name_of(name) for name in given if name not in stored))
        reads += tuple(name + _OTHER for name in sorted(inside & self.overridden))
        proto.graph.input.extend(_declare(name, live[name]) for name in reads)
        proto.graph.initializer.extend(self.graph.initializers[name] for name in stored)
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in gives)
        weights = {name: self.network.weights[name] for name in stored if name in self.network.weights}
        return _Part(Runner(Network(proto, weights), frugal=True) if gives else None, reads, tuple(gives))

    def _name_of(self, name: str) -> str:
        return name + _OTHER if name in self.overridden else name

    def _redirect(self, node: onnx.NodeProto) -> onnx.NodeProto:
        if self.overridden.isdisjoint(node.input):
            return node
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._name_of(name) for name in node.input]
        return copy


def _declare(name: str, value: Array) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim)


def _find_last_reads(graph: Graph) -> dict[str, int]:
    """The last node that reads each tensor."""
    return {name: i for i, names in enumerate(graph.reads) for name in names}


def _find_bounds(network: Network, shapes: Mapping[str, tuple[int, ...]]) -> list[int]:
    """The ends of the parts of a network: few nodes, whose tensors take little memory where their sizes are known."""
    known, bounds = infer_shapes(network.proto, shapes), list[int]()
    count = size = 0
    for i, node in enumerate(network.graph.nodes):
        own = sum(4 * (count_elements(known[name][0]) or 0) for name in node.output if name in known)
        if count and (count >= _MOST_NODES or size + own > _MOST_BYTES):
            bounds.append(i)
            count = size = 0
        count, size = count + 1, size + own
    return [*bounds, len(network.graph.nodes)]
