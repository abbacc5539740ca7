"""Metadata of Ultralytics' exporter: YOLO networks of its versions 8 and later take RGB pixels in [0, 1]."""

from __future__ import annotations

from collections.abc import Mapping

from onnxspace.inputs.config import ModelOptions
from onnxspace.model.pixel_metadata.values import make_options, parse_list, parse_side

_SOURCE = "the metadata of Ultralytics' exporter"


def read_ultralytics(metadata: Mapping[str, str]) -> ModelOptions:
    """The options of a file that Ultralytics has written; none for any other. Raises ValueError for a size that is none.

    YOLOv5 writes `stride` and `names` alone, and its classifiers take another range, so these do not suffice.
    """
    if metadata.get("author") != "Ultralytics" or not metadata.keys() >= {"stride", "task", "names"}:
        return ModelOptions()
    return make_options(_SOURCE, scale=1 / 255, color="RGB", size=_read_size(metadata))


def _read_size(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    if "imgsz" not in metadata:
        return None
    sides = [parse_side(value, "imgsz") for value in parse_list(metadata["imgsz"], "imgsz")]
    return (sides[0], sides[-1]) if len(sides) in (1, 2) else None
