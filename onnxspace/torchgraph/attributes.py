"""Attributes whose values the ONNX standard lists: any other value is refused, since runtimes read it differently.

A flag of 2 is true for one runtime and false for another, and a comparison on one input does not show it where sizes or axes are
inputs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
