"""Check what the worker process has answered of both graphs: it may be compromised by a model that it read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from onnxspace.differences.result import GraphDetails, NodeDetails, NodeGroup
from onnxspace.storage.json_fields import is_text, is_whole, require

_MOST_TEXT, _MOST_NODES, _MOST_READS, _MOST_AXES, _MOST_PARTS = 1024, 2**20, 2**12, 64, 64


def parse_details(given: Mapping[str, Any], groups: Sequence[NodeGroup], images: int) -> GraphDetails:
    """Both graphs for a page, whose nodes are those of `groups`. Raises ValueError, KeyError, TypeError."""
    old, new = (tuple(map(_parse_node, _items(given[side], _MOST_NODES))) for side in ("old", "new"))
    places = tuple(_parse_places(pair, (len(old), len(new))) for pair in _items(given["places"], _MOST_NODES))
    sizes = [(len(group.old), len(group.new)) for group in groups]
    require([(len(first), len(second)) for first, second in places] == sizes, "places")
    require(all(place < len(side) for side in (old, new) for node in side for place in node.reads), "reads")
    errors = _items(given["image_errors"], images)
    require(len(errors) in (0, images), "image_errors")
    return GraphDetails(old, new, places, tuple(map(_error, errors)))


def _parse_node(given: Mapping[str, Any]) -> NodeDetails:
    module = None if given["module"] is None else tuple(map(_text, _items(given["module"], _MOST_PARTS)))
    attributes = tuple((_text(name), _text(value)) for name, value in _items(given["attributes"], _MOST_PARTS))
    shape = None if given["shape"] is None else tuple(map(_whole, _items(given["shape"], _MOST_AXES)))
    reads = tuple(map(_whole, _items(given["reads"], _MOST_READS)))
    return NodeDetails(module, attributes, shape, _text(given["dtype"]), reads, given["data"] is True)


def _parse_places(given: Any, sizes: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, second = (tuple(map(_whole, _items(side, _MOST_NODES))) for side in given)
    require(all(place < size for side, size in zip((first, second), sizes, strict=True) for place in side), "places")
    return first, second


def _error(given: Any) -> float | None:
    require(given is None or (isinstance(given, int | float) and isfinite(given) and given >= 0), "error")
    return None if given is None else float(given)


def _items(given: Any, most: int) -> Sequence[Any]:
    require(isinstance(given, list) and len(given) <= most, "list")
    items: Sequence[Any] = given
    return items


def _text(given: Any) -> str:
    require(is_text(given, _MOST_TEXT), "text")
    return str(given)


def _whole(given: Any) -> int:
    require(is_whole(given, 0, 2**62), "number")
    return int(given)
