"""What a file that a worker has written must hold: a model may have taken the worker over, and one model takes no others with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxspace.storage.float16 import all_finite
from onnxspace.storage.regular_files import map_array


@dataclass(frozen=True)
class ArrayForm:
    """An array of finite numbers of the type `dtype` for so many `images`, with `width` numbers each, None for any number and shape."""

    dtype: str
    images: int
    width: int | None = None

    def check(self, path: Path) -> None:
        """Raise ValueError for a file that holds anything else, and OSError."""
        found = map_array(path, follow=False)
        if found.dtype != np.dtype(self.dtype).newbyteorder("<") or not found.flags.c_contiguous:
            raise ValueError("its array is of another type")
        shape = (self.images, found.shape[1:]) if self.width is None else (self.images, (self.width,))
        if found.ndim < 2 or (found.shape[0], found.shape[1:]) != shape or 0 in found.shape:
            raise ValueError("its array has another shape")
        if not all_finite(found):
            raise ValueError("a number in it is not finite")
