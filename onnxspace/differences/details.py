"""Check what the worker process has answered of both graphs: it may be compromised by a model that it read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import Any

from onnxspace.differences.fields import read_items, read_text, read_whole
from onnxspace.differences.result import GraphDetails, NodeDetails, NodeGroup
from onnxspace.storage.json_fields import require

_MOST_TEXT, _MOST_NODES, _MOST_READS, _MOST_AXES, _MOST_PARTS = 1024, 2**20, 2**12, 64, 64
_text = partial(read_text, most=_MOST_TEXT)


def parse_details(given: Mapping[str, Any], groups: Sequence[NodeGroup], images: int) -> GraphDetails:
    """Both graphs for a page, whose nodes are those of `groups`. Raises ValueError, KeyError, TypeError."""
    old, new = (tuple(map(_parse_node, read_items(given[side], _MOST_NODES))) for side in ("old", "new"))
    places = tuple(_parse_places(pair, (len(old), len(new))) for pair in read_items(given["places"], _MOST_NODES))
    sizes = [(len(group.old), len(group.new)) for group in groups]
    require([(len(first), len(second)) for first, second in places] == sizes, "places")
    require(all(place < len(side) for side in (old, new) for node in side for place in node.reads), "reads")
    errors = read_items(given["image_errors"], images)
    require(len(errors) in (0, images), "image_errors")
    return GraphDetails(old, new, places, tuple(map(_error, errors)))


def _parse_node(given: Mapping[str, Any]) -> NodeDetails:
    module = None if given["module"] is None else tuple(map(_text, read_items(given["module"], _MOST_PARTS)))
    attributes = tuple((_text(name), _text(value)) for name, value in read_items(given["attributes"], _MOST_PARTS))
    shape = None if given["shape"] is None else tuple(map(read_whole, read_items(given["shape"], _MOST_AXES)))
    reads = tuple(map(read_whole, read_items(given["reads"], _MOST_READS)))
    return NodeDetails(module, attributes, shape, _text(given["dtype"]), reads, given["data"] is True)


def _parse_places(given: Any, sizes: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    first, second = (tuple(map(read_whole, read_items(side, _MOST_NODES))) for side in given)
    require(all(place < size for side, size in zip((first, second), sizes, strict=True) for place in side), "places")
    return first, second


def _error(given: Any) -> float | None:
    require(given is None or (isinstance(given, int | float) and isfinite(given) and given >= 0), "error")
    return None if given is None else float(given)
