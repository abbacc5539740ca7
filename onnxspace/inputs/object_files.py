"""The files that say where objects are in images: one of boxes, or a folder of masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.boxes import Box, fit_boxes, read_boxes
from onnxspace.inputs.masks import MaskFolder, find_masks, fit_masks


@dataclass(frozen=True)
class ObjectsByName:
    """The boxes in the file `source` by the names of their images, or the masks of a folder."""

    source: str
    boxes: Mapping[str, Sequence[Box]] | None = None
    masks: MaskFolder | None = None

    def fit(self, images: Sequence[Path], size: int) -> dict[str, Any]:
        """Return the boxes or masks of `images` in squares of `size` pixels, as an argument of `measure_faithfulness`.

        Raises ConfigError where no image has one, ProbeError for a picture that can't be read.
        """
        if self.masks is not None:
            return {"masks": fit_masks(self.masks, images, size)}
        return {"boxes": fit_boxes(self.boxes or {}, images, size, self.source)}


@dataclass(frozen=True)
class ObjectFiles:
    """Where objects are in image files: a file of `boxes` that `read_boxes` reads, or a folder of `masks` that `find_masks` lists."""

    boxes: str | Path | None = None
    masks: str | Path | None = None

    def read(self) -> ObjectsByName | None:
        """Read the boxes, or list the masks; None where neither is given. Raises ConfigError."""
        if self.boxes is not None and self.masks is not None:
            raise ConfigError(f"--boxes {self.boxes} and --masks {self.masks} both say where objects are. Give one of them.")
        if self.masks is not None:
            return ObjectsByName(str(self.masks), masks=find_masks(self.masks))
        return None if self.boxes is None else ObjectsByName(str(self.boxes), read_boxes(self.boxes))
