"""Check what the worker process has answered: it may be compromised by a model that it read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import isfinite
from typing import Any

from onnxspace.differences.fields import read_items, read_text, read_whole
from onnxspace.differences.result import STATUSES, DiffModel, InputSizes, LayerRow, Node, NodeGroup, OutputRow
from onnxspace.storage.json_fields import is_sha256, is_text, require

_MOST_TEXT, _MOST_ITEMS, _MOST_AXES = 2**16, 2**20, 64
_text, _items = partial(read_text, most=_MOST_TEXT), partial(read_items, most=_MOST_ITEMS)
_NUMBERS = ("max_error", "relative_error", "own_error", "cosine", "snr_db", "half_overflow", "half_underflow", "int8_saturated")
#: What may be said of weights, by the type of it.
_WEIGHTS: dict[str, type | tuple[type, ...]] = {
    "kind": str, "difference": float, "types": list, "rounding": float, "pruned": float, "factor": list, "axis": str, "moved": int,
    "bias": float, "cause": str, "remaining": float, "shift": list, "levels": int, "rank": int, "outputs": list, "inputs": list, "kept": int,
    "edited": int, "exchanged": list, "reset": bool, "limits": list, "grid": float,
}  # fmt: skip


def parse_model(given: Mapping[str, Any]) -> DiffModel:
    """The facts of a model. Raises ValueError, KeyError, TypeError."""
    texts = [_text(given[name]) for name in ("name", "path", "sha256", "producer")]
    require(is_sha256(texts[2]), "sha256")
    counts = [read_whole(given[name]) for name in ("opset", "nodes", "computing", "parameters")]
    types = {_text(name): read_whole(count) for name, count in given["types"].items()}
    inputs = tuple(map(_parse_input, _items(given["inputs"])))
    return DiffModel(texts[0], texts[1], texts[2], texts[3], counts[0], counts[1], counts[2], counts[3], types, inputs)


def _parse_input(given: Any) -> InputSizes:
    name, sizes = _items(given)
    require(len(_items(sizes)) <= _MOST_AXES, "inputs")
    return InputSizes(_text(name), tuple(None if size is None else read_whole(size) for size in sizes))


def parse_groups(given: Any) -> tuple[NodeGroup, ...]:
    """The groups of nodes. Raises ValueError, KeyError, TypeError."""
    return tuple(map(_parse_group, _items(given)))


def _parse_group(given: Mapping[str, Any]) -> NodeGroup:
    require(given["status"] in STATUSES, "status")
    old, new = (tuple(map(_parse_node, _items(given[side]))) for side in ("old", "new"))
    weights = None if given["weights"] is None else _parse_weights(given["weights"])
    return NodeGroup(
        given["status"], old, new, _number(given["error"]), _number(given["own_error"]), weights, bool(given["matters"]),
        tuple(map(_parse_setting, _items(given["settings"]))),
    )  # fmt: skip


def _parse_setting(given: Any) -> tuple[str, str, str]:
    name, old, new = map(_text, _items(given))
    return name, old, new


def _parse_node(given: Mapping[str, Any]) -> Node:
    return Node(_text(given["name"]), _text(given["op"]), _text(given["domain"]), bool(given["computes"]))


def _parse_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in given.items():
        require(
            key in _WEIGHTS and isinstance(value, _WEIGHTS[key]) and isinstance(value, bool) == (_WEIGHTS[key] is bool),
            "weights",
        )
    require("kind" in given and all(_is_plain(value) for value in given.values()), "weights")
    return dict(given)


def _is_plain(value: Any) -> bool:
    """Whether a value is a text, a finite number, or two of them."""
    if isinstance(value, list):
        return len(value) <= 2 and not any(isinstance(one, list) for one in value) and all(map(_is_plain, value))
    return is_text(value, _MOST_TEXT) or (isinstance(value, int | float) and isfinite(value))


def parse_layers(given: Any) -> tuple[LayerRow, ...]:
    """The rows of the table. Raises ValueError, KeyError, TypeError."""
    return tuple(map(_parse_layer, _items(given)))


def _parse_layer(given: Mapping[str, Any]) -> LayerRow:
    require(given["status"] in STATUSES, "status")
    texts: dict[str, Any] = {name: _text(given[name]) for name in ("old", "new", "old_op", "new_op", "old_type", "new_type")}
    numbers: dict[str, Any] = {name: _number(given[name]) for name in _NUMBERS}
    ranges: dict[str, Any] = {name: _range(given[name]) for name in ("old_range", "new_range")}
    shapes: dict[str, Any] = {name: _shape(given[name]) for name in ("old_shape", "new_shape")}
    return LayerRow(place=read_whole(given["place"]), status=given["status"], **texts, **numbers, **ranges, **shapes)


def parse_outputs(given: Any) -> tuple[OutputRow, ...]:
    """The rows of the outputs. Raises ValueError, KeyError, TypeError."""
    return tuple(map(_parse_output, _items(given)))


def _parse_output(given: Mapping[str, Any]) -> OutputRow:
    names: dict[str, Any] = {side: None if given[side] is None else _text(given[side]) for side in ("old", "new")}
    shapes: dict[str, Any] = {name: _shape(given[name]) for name in ("old_shape", "new_shape")}
    errors: dict[str, Any] = {name: _number(given[name]) for name in ("max_error", "relative_error")}
    shares: dict[str, Any] = {name: _number(given[name]) or 0.0 for name in ("old_bad", "new_bad")}
    return OutputRow(**names, **errors, **shapes, **shares, permuted=bool(given["permuted"]), step=_number(given["step"]))


def _number(given: Any) -> float | None:
    require(given is None or (isinstance(given, int | float) and isfinite(given)), "number")
    return None if given is None else float(given)


def _range(given: Any) -> tuple[float, float] | None:
    if given is None:
        return None
    low, high = map(_number, _items(given))
    require(low is not None and high is not None, "range")
    return (low or 0.0, high or 0.0)


def _shape(given: Any) -> tuple[int, ...]:
    require(len(_items(given)) <= _MOST_AXES, "shape")
    return tuple(map(read_whole, given))
