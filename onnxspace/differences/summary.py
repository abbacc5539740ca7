"""Sentences on what was done to a model, and whether both networks compute the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from onnxspace.differences.findings import Findings, format_percent, name_end
from onnxspace.differences.fusion_words import describe_fusion
from onnxspace.differences.node_words import (
    describe_export,
    describe_inputs,
    describe_kinship,
    describe_layout,
    describe_nodes,
    describe_opset,
    describe_outputs,
)
from onnxspace.differences.result import MOST_NAME, Change, NodeGroup, Verdict
from onnxspace.differences.weight_words import describe_weights
from onnxspace.storage.printable import shorten

#: Relative error of outputs up to which they are equal in single precision, and up to which any are.
SAME, _EXACT = 1e-3, 1e-6
#: Relative error of outputs in eight bits from which on it is explained, and the steps by which two roundings of one number differ at most.
_LARGE, _A_STEP = 0.05, 1.02
#: Weights that may differ although the network computes the same.
_COMPENSATED = frozenset({"scaled", "permuted"})


def find_verdict(found: Findings) -> Verdict:
    """Whether both compute the same, the same but for rounding to a lower precision, or something else."""
    if found.old.sha256 == found.new.sha256:
        return "same"
    kinds = {(group.weights or {}).get("kind") for group in found.departing}
    if found.error is None or any(row.permuted for row in found.outputs):
        return "differ"
    if found.departing and not (kinds <= _COMPENSATED and found.error <= SAME):
        return "differ"
    if found.precision == "single":
        return "same" if found.error <= SAME else "differ"
    return "same" if found.error <= _EXACT else "rounding"


def summarise(found: Findings, verdict: Verdict) -> str:
    """The verdict in a sentence, with its evidence."""
    if found.old.sha256 == found.new.sha256:
        return "Both files are equal, byte for byte."
    if verdict == "same":
        return f"The networks compute the same: {_describe_small(found.error)}."
    if verdict == "rounding":
        return (
            f"The networks are the same but for rounding to {_name_precision(found)}: their outputs differ by "
            f"{_format_error(found.error or 0.0)}{_explain_steps(found)}."
        )
    tail = _describe_outputs(found)
    if not found.departing:
        return f"The networks differ: {tail}."
    return f"The networks differ: they first depart at {name_group(found.departing[0])}; {tail}."


def _describe_outputs(found: Findings) -> str:
    if any(row.old is None or row.new is None for row in found.outputs):
        return "they have other outputs"
    if any(row.permuted for row in found.outputs):
        return "the outputs hold the old values in another order"
    if found.error is None:
        return _describe_incomparable(found)
    return f"the outputs differ by {_format_error(found.error)}" if found.error else "the outputs are equal on these images"


def _explain_steps(found: Findings) -> str:
    """That no output differs by more than a step between two integers, where the difference is large."""
    steps = [
        row.step for row in found.outputs if row.step and row.max_error is not None and row.max_error <= _A_STEP * row.step
    ]
    if (found.error or 0.0) < _LARGE or len(steps) < len(found.outputs):
        return ""
    return f", no value by more than a step of {max(steps):.2g} between two integers"


def _describe_small(error: float | None) -> str:
    return f"their outputs differ by {_format_error(error)} at most" if error else "their outputs are equal"


def _describe_incomparable(found: Findings) -> str:
    """Which output can't be compared, and why."""
    row = next(row for row in found.outputs if row.relative_error is None)
    name = shorten(str(row.new), MOST_NAME)
    if row.old_shape != row.new_shape:
        return f"the output '{name}' is {_write_shape(row.new_shape)}, and was {_write_shape(row.old_shape)}"
    files = [name for name, share in (("the old file", row.old_bad), ("the new file", row.new_bad)) if share]
    shares = " and ".join(format_percent(share) for share in (row.old_bad, row.new_bad) if share)
    if not files:
        return f"the output '{name}' can't be compared"
    return f"{shares} of the values of the output '{name}' are not finite in {' and '.join(files)}"


def _write_shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "a number"


def _format_error(error: float) -> str:
    return format_percent(error) if error >= 1e-4 else f"{error:.1g} of their length"


def _name_precision(found: Findings) -> str:
    if found.precision == "int8":
        kinds = {kind for group in found.groups for kind in (group.weights or {}).get("types", ())}
        return "four bits" if kinds & {"int4", "uint4"} and not kinds & {"int8", "uint8"} else "eight bits"
    return "bfloat16" if "bfloat16" in (*found.old.types, *found.new.types) else "half precision"


def name_group(group: NodeGroup) -> str:
    """The nodes of a group that compute, those of the new file where there are some."""
    node = name_end(group)
    words = f"{shorten(node.name or '?', MOST_NAME)} ({node.op})"
    return f"{words}, which was {group.status}" if group.status in ("added", "removed") else words


def describe_changes(found: Findings) -> tuple[Change, ...]:
    """What was done, as sentences: the form of the file first, then weights, then nodes."""
    if found.old.sha256 == found.new.sha256:
        return ()
    sources: Sequence[Callable[[Findings], Iterator[Change]]] = (
        describe_export, describe_opset, describe_inputs, describe_outputs, describe_fusion, describe_layout, describe_weights_of, describe_nodes, describe_kinship,
    )  # fmt: skip
    return tuple(change for source in sources for change in source(found))


def describe_weights_of(found: Findings) -> Iterator[Change]:
    classes = any(row.permuted for row in found.outputs)
    yield from describe_weights(found.groups, classes=classes)
