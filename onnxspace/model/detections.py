"""The outputs of detectors that hold boxes and scores, by an allow list of names, shapes and metadata."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from onnxspace.errors import ModelError
from onnxspace.model.model import Model

Corners = Literal["corners", "centre"]
#: How values are boxes around the positions of a grid: `distances` to the sides in strides; `logarithms`, offsets of the centre in strides
#: and logarithms of the sides in strides; `offsets` of the centre, and the sides, in pixels.
Grids = Literal["distances", "logarithms", "offsets"]
_KINDS = (
    "boxes [n, 4] with scores [n] or [n, classes] (corners), pred_boxes [1, n, 4] with logits [1, n, classes] (DETR), "
    "the one output of Ultralytics' detectors, score_8, bbox_8 and so on (SCRFD), cls_8, obj_8, bbox_8 and so on (YuNet), "
    "and the 896 or 2,016 boxes of MediaPipe's detectors"
)
#: Sides in pixels of the first grid's cells in MediaPipe's detectors; the second has cells of twice the side. Boxes per position of both.
_MEDIAPIPE_STRIDES, _MEDIAPIPE_ANCHORS = (8, 16), (2, 6)
#: Values of a box there: four, and two for each of six or seven points.
_MEDIAPIPE_VALUES = (16, 18)


@dataclass(frozen=True)
class BoxForm:
    """How a detector's `tensors` hold boxes: one tensor of rows [boxes and scores], or boxes and scores apart.

    `first` says that a single tensor is [1, values, boxes]; `objectness` that its fifth value multiplies the scores of classes.
    `corners` are left, top, right, bottom, otherwise centre, width, height; `shares` of the input's sides instead of pixels.
    With `strides`, boxes lie at the positions of `grids` whose cells have these sides in pixels: `tensors` are boxes, scores and, with
    `objectness`, a factor of the scores, of each grid in turn, or of all grids one after another.
    """

    tensors: tuple[str, ...]
    classes: int
    first: bool = False
    objectness: bool = False
    corners: Corners = "centre"
    shares: bool = False
    strides: tuple[int, ...] = ()
    grids: Grids | None = None


def find_box_form(model: Model, shapes: Mapping[str, tuple[int, ...]], names: int) -> BoxForm:
    """Return how the outputs of `shapes` hold boxes; `names` is the number of classes that have names.

    Raises ModelError for outputs that are not on the allow list: boxes of unknown meaning are not guessed.
    """
    size = (model.preprocess.height, model.preprocess.width)
    found = _find_detr(shapes) or _find_pair(shapes) or _find_ultralytics(model, shapes, names)
    found = found or _find_levels(shapes, size) or _find_mediapipe(shapes, size)
    if found is None:
        held = ", ".join(f"{name} {list(shape)}" for name, shape in list(shapes.items())[:6])
        raise ModelError(
            f"{model.path} has no boxes in a form that is understood ({held}): {_KINDS} are. Explain a value by --value NAME[index], or part of a map of values by --region."
        )
    return found


def _find_detr(shapes: Mapping[str, tuple[int, ...]]) -> BoxForm | None:
    boxes = shapes.get("pred_boxes", ())
    for name in ("logits", "pred_logits"):
        scores = shapes.get(name, ())
        if len(boxes) == len(scores) == 3 and boxes[2] == 4 and boxes[:2] == scores[:2]:
            return BoxForm(("pred_boxes", name), scores[2], shares=True)
    return None


def _find_pair(shapes: Mapping[str, tuple[int, ...]]) -> BoxForm | None:
    boxes, scores = shapes.get("boxes", ()), shapes.get("scores", ())
    if not boxes or boxes[-1] != 4 or len(boxes) not in (2, 3) or (len(boxes) == 3 and boxes[0] != 1):
        return None
    if scores == boxes[:-1]:
        return BoxForm(("boxes", "scores"), 1, corners="corners")
    return BoxForm(("boxes", "scores"), scores[-1], corners="corners") if scores[:-1] == boxes[:-1] else None


def _find_ultralytics(model: Model, shapes: Mapping[str, tuple[int, ...]], names: int) -> BoxForm | None:
    """One output [1, 4 + classes, boxes], or [1, boxes, 5 + classes] of YOLOv5, in files that name their classes and stride."""
    metadata = {entry.key for entry in model.proto.metadata_props}
    single = [(name, shape) for name, shape in shapes.items() if len(shape) == 3 and shape[0] == 1]
    if not metadata >= {"names", "stride"} or len(shapes) != 1 or not single or not names:
        return None
    (name, shape), *_ = single
    if shape[1] == 4 + names:
        return BoxForm((name,), names, first=True)
    return BoxForm((name,), names, objectness=True) if shape[2] == 5 + names else None


def _find_levels(shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> BoxForm | None:
    """Outputs that are named after the sides of their cells, as score_8 and bbox_8; each has some boxes per position."""
    strides = tuple(sorted(int(name[5:]) for name in shapes if re.fullmatch(r"bbox_[1-9]\d{0,3}", name)))
    for scores, factor, grids in (("score", None, "distances"), ("cls", "obj", "logarithms")):
        words = ["bbox", scores, *([factor] if factor else [])]
        tensors = tuple(f"{word}_{stride}" for stride in strides for word in words)
        if strides and all(name in shapes for name in tensors) and all(_is_level(shapes, s, words, size) for s in strides):
            classes = shapes[f"{scores}_{strides[0]}"][-1]
            return BoxForm(tensors, classes, False, factor is not None, "corners", False, strides, cast("Grids", grids))
    return None


def _is_level(shapes: Mapping[str, tuple[int, ...]], stride: int, words: Sequence[str], size: tuple[int, int]) -> bool:
    boxes, *others = (shapes[f"{word}_{stride}"] for word in words)
    cells = math.prod(-(-side // stride) for side in size)
    same = all(len(one) == len(boxes) and one[:-1] == boxes[:-1] for one in others)
    return boxes[-1] == 4 and same and math.prod(boxes[:-1]) % cells == 0 and math.prod(boxes[:-1]) > 0


def _find_mediapipe(shapes: Mapping[str, tuple[int, ...]], size: tuple[int, int]) -> BoxForm | None:
    """Two outputs [1, n, 16 or 18] and [1, n, 1], where n is the number of boxes of MediaPipe's two grids."""
    if len(shapes) != 2 or any(len(shape) != 3 or shape[0] != 1 for shape in shapes.values()):
        return None
    (scores, narrow), (boxes, wide) = sorted(shapes.items(), key=lambda one: one[1][2])
    if narrow[2] != 1 or wide[2] not in _MEDIAPIPE_VALUES or narrow[1] != wide[1]:
        return None
    for first in _MEDIAPIPE_STRIDES:
        strides = (first, 2 * first)
        cells = [math.prod(side // stride for side in size) for stride in strides]
        if sum(many * one for many, one in zip(_MEDIAPIPE_ANCHORS, cells, strict=True)) == wide[1]:
            return BoxForm((boxes, scores), 1, corners="corners", strides=strides, grids="offsets")
    return None
