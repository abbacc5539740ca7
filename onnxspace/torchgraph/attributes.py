"""Attributes whose values the ONNX standard lists: any other value is refused, since runtimes read it differently.

A flag of 2 is true for one runtime and false for another, and a comparison on one input does not show it where sizes or axes are
inputs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import onnx
import onnx.defs

#: Attributes that are 0 or 1, whatever the operator.
FLAGS = frozenset({
    "align_corners", "allowzero", "antialias", "broadcast", "ceil_mode", "center_point_box", "channels_last",
    "count_include_pad", "detect_negative", "detect_positive", "exclude_outside", "exclusive", "fmod", "input_forget",
    "interleaved", "inverse", "is_causal", "is_packed_batching", "is_test", "keepdims", "largest", "layout",
    "linear_before_reset", "new_axis", "noop_with_empty_axes", "onesided", "periodic", "reverse", "saturate",
    "select_last_index", "sorted", "spatial", "storage_order", "training_mode", "transA", "transB", "transBatchA",
    "transBatchB", "unidirectional", "upper",
})  # fmt: skip
_PADDING = frozenset({"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"})
#: The words that an attribute may have, whatever the operator.
WORDS: Mapping[str, frozenset[str]] = {
    "auto_pad": _PADDING,
    "keep_aspect_ratio_policy": frozenset({"stretch", "not_larger", "not_smaller"}),
    "nearest_mode": frozenset({"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"}),
    "padding_mode": frozenset({"zeros", "border", "reflection"}),
    "round_mode": frozenset({"up", "down", "nearest"}),
    "update_rule": frozenset({"linear", "gated", "delta", "gated_delta"}),
}
#: The words of attributes that mean something else for each operator.
_MODES: Mapping[tuple[str, str], frozenset[str]] = {
    ("RoiAlign", "mode"): frozenset({"avg", "max"}),
    ("RoiAlign", "coordinate_transformation_mode"): frozenset({"half_pixel", "output_half_pixel"}),
    ("BitShift", "direction"): frozenset({"LEFT", "RIGHT"}),
    **{(name, "direction"): frozenset({"forward", "reverse", "bidirectional"}) for name in ("RNN", "GRU", "LSTM")},
    ("DepthToSpace", "mode"): frozenset({"DCR", "CRD"}),
    ("TensorScatter", "mode"): frozenset({"linear", "circular"}),
}


def refuse_unlisted(operator: str, attributes: Mapping[str, Any]) -> None:
    """Raise NotImplementedError for the first of a node's attributes whose value the standard does not list.

    >>> refuse_unlisted("ReduceSum", {"keepdims": 1, "axes": [2]})
    """
    for name, value in attributes.items():
        if name in FLAGS and not (isinstance(value, int) and value in (0, 1)):
            raise NotImplementedError(f"{name} {value!r} is neither 0 nor 1")
        words = _MODES.get((operator, name), WORDS.get(name))
        if words is not None and value not in words:
            raise NotImplementedError(f"{name} {value!r} is not of the standard")


def find_missing_attribute(node: onnx.NodeProto, opset: int) -> str | None:
    """Find an attribute that the standard requires of a node's operator in `opset`, and that the node lacks; None without one.

    >>> find_missing_attribute(onnx.helper.make_node("Cast", ["x"], ["y"]), 17)
    'to'
    """
    given = {attribute.name for attribute in node.attribute}
    return next((name for name in _required_attributes(node.op_type, opset) if name not in given), None)


@cache
def _required_attributes(operator: str, opset: int) -> tuple[str, ...]:
    try:
        schema = onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:  # an operator without a schema, or of another opset
        return ()
    # `consumed_inputs` was for reusing memory; no runtime reads it.
    return tuple(name for name, each in schema.attributes.items() if each.required and name != "consumed_inputs")
