"""Operators on sequences, which are Python lists of tensors, and on optional values: the value itself, or None."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from onnxspace.torchgraph.registry import Apply, HostValue, Node, TorchOperator, converter, read_on_host, to_integers


@converter("SequenceEmpty", 11)
def sequence_empty(_node: Node) -> TorchOperator:
    """SequenceEmpty."""
    return Apply(list)


@converter("SequenceConstruct", 11)
def sequence_construct(_node: Node) -> TorchOperator:
    """SequenceConstruct."""
    return Apply(lambda *tensors: list(tensors))


@converter("SequenceAt", 11)
def sequence_at(_node: Node) -> TorchOperator:
    """SequenceAt."""
    return read_on_host(Apply(lambda sequence, position: sequence[to_integers(position)[0]]), 1)


@converter("SequenceLength", 11)
def sequence_length(_node: Node) -> TorchOperator:
    """SequenceLength."""
    return Apply(lambda sequence: torch.tensor(len(sequence)))


@converter("SequenceInsert", 11)
def sequence_insert(_node: Node) -> TorchOperator:
    """SequenceInsert, at the end where no position is given."""

    def insert(sequence: list[Tensor], tensor: Tensor, position: HostValue | None = None) -> list[Tensor]:
        at = len(sequence) if position is None else to_integers(position)[0]
        return [*sequence[:at], tensor, *sequence[at:]]

    return read_on_host(Apply(insert), 2)


@converter("SequenceErase", 11)
def sequence_erase(_node: Node) -> TorchOperator:
    """SequenceErase, of the last element where no position is given."""

    def erase(sequence: list[Tensor], position: HostValue | None = None) -> list[Tensor]:
        at = (-1 if position is None else to_integers(position)[0]) % len(sequence)
        return sequence[:at] + sequence[at + 1 :]

    return read_on_host(Apply(erase), 1)


@converter("ConcatFromSequence", 11)
def concat_from_sequence(node: Node) -> TorchOperator:
    """ConcatFromSequence, along an existing or a new axis."""
    axis, join = node.get("axis"), torch.stack if node.get("new_axis", 0) else torch.cat
    return Apply(lambda sequence: join(sequence, axis))


@converter("SplitToSequence", 11, 24)
def split_to_sequence(node: Node) -> TorchOperator:
    """SplitToSequence: into single slices, parts of one length, or parts of given lengths."""
    axis, keep = node.get("axis", 0), bool(node.get("keepdims", 1))

    def split(x: Tensor, sizes: Tensor | None = None) -> list[Tensor]:
        if sizes is None:
            return list(torch.split(x, 1, axis) if keep else x.unbind(axis))
        return list(torch.split(x, to_integers(sizes) if sizes.dim() else int(sizes), axis))

    return Apply(split)


@converter("Optional", 15, 28)
def optional(_node: Node) -> TorchOperator:
    """Optional: its value, or None."""
    return Apply(lambda value=None: value)


@converter("OptionalHasElement", 15, 18, 28)
def optional_has_element(_node: Node) -> TorchOperator:
    """OptionalHasElement."""
    return Apply(lambda value=None: torch.tensor(value is not None))


@converter("OptionalGetElement", 15, 18, 28)
def optional_get_element(_node: Node) -> TorchOperator:
    """OptionalGetElement."""

    def unwrap(value: Any) -> Any:
        if value is None:
            raise ValueError("an optional value is missing")
        return value

    return Apply(unwrap)
