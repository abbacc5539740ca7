"""If, Loop, Scan and SequenceMap, whose bodies become modules."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, nn

from onnxspace.torchgraph.registry import (
    HostValue,
    Node,
    TorchOperator,
    converter,
    read_on_host,
    to_integers,
    to_numbers,
    torch_type,
)

_VERSIONS = (11, 13, 16, 19, 21, 23, 24, 25)


def _to_list(result: Any) -> list[Any]:
    """The outputs of a body as a list; a single output is returned without a tuple."""
    return list(result) if isinstance(result, tuple) else [result]


def _unwrap(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else tuple(values)


def _split_inputs(inputs: tuple[Any, ...], count: int) -> tuple[list[Any], list[Any]]:
    """Split a module's inputs into those of the node, and tensors that its bodies capture from outside."""
    return list(inputs[:count]), list(inputs[count:])


class If(nn.Module):
    """Runs one of two bodies."""

    def __init__(self, then: nn.Module, otherwise: nn.Module) -> None:
        super().__init__()
        self.then, self.otherwise = then, otherwise

    def forward(self, condition: HostValue, *outside: Any) -> Any:
        return self.then(*outside) if bool(to_numbers(condition)[0]) else self.otherwise(*outside)


@converter("If", 1, *_VERSIONS)
def if_(node: Node) -> TorchOperator:
    """If."""
    return read_on_host(If(node.body("then_branch"), node.body("else_branch")), 0)


class EmptyOutput:
    """The value of a scan output whose body never ran: empty, of the declared type and shape, with open axes of size zero."""

    def __init__(self, declared: onnx.ValueInfoProto) -> None:
        kind = declared.type.tensor_type
        self.dtype = torch_type(kind.elem_type) if kind.elem_type else torch.float32
        self.shape = [dim.dim_value for dim in kind.shape.dim]

    def __call__(self, device: torch.device) -> Tensor:
        return torch.zeros([0, *self.shape], dtype=self.dtype, device=device)


class Loop(nn.Module):
    """Runs its body while a condition holds, up to a number of times; carries states and stacks the other outputs."""

    def __init__(self, body: nn.Module, count: int, carried: int, ranks: tuple[int, int], empty: list[EmptyOutput]) -> None:
        super().__init__()
        self.body, self.count, self.carried, self.ranks, self.empty = body, count, carried, ranks, empty

    def forward(self, *inputs: Any) -> Any:
        (trips, condition, *state), outside = _split_inputs(inputs, self.count)
        limit = None if trips is None else to_integers(trips)[0]
        device = next((t.device for t in inputs if isinstance(t, Tensor)), torch.device("cpu"))
        going = True if condition is None else bool(to_numbers(condition)[0])
        rows: list[list[Any]] = []
        while going and (limit is None or len(rows) < limit):
            step = torch.full([1] * self.ranks[0], len(rows), dtype=torch.int64, device=device)
            flag = torch.full([1] * self.ranks[1], True, device=device)
            held, *result = _to_list(self.body(step, flag, *state, *outside))
            going, state = bool(held.reshape(-1)[0]), result[: self.carried]
            rows.append(result[self.carried :])
        stacked = [torch.stack(column) for column in zip(*rows, strict=True)] if rows else [e(device) for e in self.empty]
        return _unwrap([*state, *stacked])


@converter("Loop", 1, *_VERSIONS)
def loop(node: Node) -> TorchOperator:
    """Loop."""
    body = _body_graph(node, "body")
    count = len(node.proto.input)
    carried = count - 2
    ranks = [len(value.type.tensor_type.shape.dim) for value in body.input[:2]]
    empty = [EmptyOutput(value) for value in body.output[1 + carried :]]
    return read_on_host(Loop(node.body("body"), count, carried, (ranks[0], ranks[1]), empty), 0, 1)


def _body_graph(node: Node, name: str) -> onnx.GraphProto:
    graph: onnx.GraphProto = node.get(name)
    return graph


class Scan(nn.Module):
    """Runs its body over slices of its inputs; carries states and stacks the other outputs."""

    def __init__(self, body: nn.Module, count: int, node: Node, offset: int = 0) -> None:
        super().__init__()
        scans = int(node.get("num_scan_inputs"))
        self.body, self.count, self.states = body, count, count - scans - offset
        self.empty = [EmptyOutput(value) for value in _body_graph(node, "body").output[self.states :]]
        outputs = len(self.empty)
        self.axes: list[int] = node.get("scan_input_axes") or [0] * scans
        self.output_axes: list[int] = node.get("scan_output_axes") or [0] * outputs
        self.backward_in: list[int] = node.get("scan_input_directions") or node.get("directions") or [0] * scans
        self.backward_out: list[int] = node.get("scan_output_directions") or [0] * outputs

    def forward(self, *inputs: Any) -> Any:
        own, outside = _split_inputs(inputs, self.count)
        return _unwrap(self.run(own[: self.states], own[self.states :], outside))

    def run(self, state: list[Any], scanned: list[Tensor], outside: list[Any]) -> list[Tensor]:
        """Run the body over `scanned`; returns the states after the last step, and the stacked outputs."""
        slices = [
            reversed(x.unbind(axis)) if backward else x.unbind(axis)
            for x, axis, backward in zip(scanned, self.axes, self.backward_in, strict=True)
        ]
        rows: list[list[Any]] = []
        for row in zip(*slices, strict=True):
            result = _to_list(self.body(*state, *row, *outside))
            state = result[: self.states]
            rows.append(result[self.states :])
        return [*state, *self._stack(rows, scanned[0].device)]

    def _stack(self, rows: list[list[Any]], device: torch.device) -> list[Tensor]:
        if not rows:
            return [empty(device) for empty in self.empty]
        return [
            torch.stack(column[::-1] if backward else column, axis)
            for column, axis, backward in zip(zip(*rows, strict=True), self.output_axes, self.backward_out, strict=True)
        ]


@converter("Scan", 9, *_VERSIONS)
def scan(node: Node) -> TorchOperator:
    """Scan without a batch axis."""
    return Scan(node.body("body"), len(node.proto.input), node)


class BatchedScan(Scan):
    """Scan of the first version: with a leading batch axis, and a length for each batch entry."""

    def forward(self, *inputs: Any) -> Any:
        (lengths, *own), outside = _split_inputs(inputs, self.count)
        states, scanned = own[: self.states], own[self.states :]
        longest = scanned[0].shape[1]
        rows = []
        for entry in range(len(scanned[0])):
            length = longest if lengths is None else int(lengths[entry])
            result = self.run([s[entry] for s in states], [self._truncate(x[entry], length) for x in scanned], outside)
            rows.append(result[: self.states] + [_pad_steps(x, longest) for x in result[self.states :]])
        return _unwrap([torch.stack(column) for column in zip(*rows, strict=True)])

    @staticmethod
    def _truncate(x: Tensor, length: int) -> Tensor:
        return x[:length]


def _pad_steps(x: Tensor, length: int) -> Tensor:
    return torch.cat([x, x.new_zeros(length - len(x), *x.shape[1:])]) if len(x) < length else x


@converter("Scan", 8)
def batched_scan(node: Node) -> TorchOperator:
    """Scan with a batch axis."""
    return BatchedScan(node.body("body"), len(node.proto.input), node, 1)


class SequenceMap(nn.Module):
    """Runs its body on every element; further inputs are sequences, or tensors that are the same for all elements."""

    def __init__(self, body: nn.Module, count: int, outputs: int) -> None:
        super().__init__()
        self.body, self.count, self.outputs = body, count, outputs

    def forward(self, *inputs: Any) -> Any:
        own, outside = _split_inputs(inputs, self.count)
        steps = [[x[i] if isinstance(x, list) else x for x in own] for i in range(len(own[0]))]
        rows = [_to_list(self.body(*step, *outside)) for step in steps]
        return _unwrap([[row[i] for row in rows] for i in range(self.outputs)])


@converter("SequenceMap", 17)
def sequence_map(node: Node) -> TorchOperator:
    """SequenceMap."""
    return SequenceMap(node.body("body"), len(node.proto.input), node.outputs)
