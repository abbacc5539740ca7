"""The outputs of detectors that hold boxes and scores, by an allow list of names, shapes and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from onnxspace.errors import ModelError
from onnxspace.model.model import Model

Corners = Literal["corners", "centre"]
_KINDS = (
    "boxes [n, 4] with scores [n] or [n, classes] (corners), pred_boxes [1, n, 4] with logits [1, n, classes] (DETR), "
    "and the one output of Ultralytics' detectors"
)


@dataclass(frozen=True)
class BoxForm:
    """How a detector's `tensors` hold boxes: one tensor of rows [boxes and scores], or boxes and scores apart.

    `first` says that a single tensor is [1, values, boxes]; `objectness` that its fifth value multiplies the scores of classes.
    `corners` are left, top, right, bottom, otherwise centre, width, height; `shares` of the input's sides instead of pixels.
    """

    tensors: tuple[str, ...]
    classes: int
    first: bool = False
    objectness: bool = False
    corners: Corners = "centre"
    shares: bool = False


def find_box_form(model: Model, shapes: Mapping[str, tuple[int, ...]], names: int) -> BoxForm:
    """Return how the outputs of `shapes` hold boxes; `names` is the number of classes that have names.

    Raises ModelError for outputs that are not on the allow list: boxes of unknown meaning are not guessed.
    """
    found = _find_detr(shapes) or _find_pair(shapes) or _find_ultralytics(model, shapes, names)
    if found is None:
        held = ", ".join(f"{name} {list(shape)}" for name, shape in list(shapes.items())[:6])
        raise ModelError(
            f"{model.path} has no boxes in a form that is understood ({held}): {_KINDS} are. Explain a value by --value NAME[index]."
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
