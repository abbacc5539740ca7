"""Tensors with positions: which axes are rows and columns of the image, or tokens that stand for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from onnxspace.inputs.preprocess import Preprocess

Layout = Literal["channels first", "channels last", "tokens", "one channel"]
#: Numbers of tokens in front of those of the patches: class, distillation, registers.
_PREFIXES = (0, 1, 2, 4, 5)
#: The largest relative deviation of a grid's aspect ratio from the image's, which is due to rounding of sizes.
_ROUNDING = 0.25


@dataclass(frozen=True)
class Grid:
    """The positions of a tensor of one image: `rows` × `columns` of them, behind `prefix` tokens that stand for no position."""

    layout: Layout
    rows: int
    columns: int
    prefix: int = 0

    @property
    def channel_axis(self) -> int | None:
        """The axis of the channels; None where there is a single one without an axis."""
        return {"channels first": 1, "channels last": 3, "tokens": 2, "one channel": None}[self.layout]


def find_grid(shape: Sequence[int], preprocess: Preprocess) -> Grid | None:
    """Return the positions of a tensor of this `shape` for one image, or None where it has none.

    Four axes are [1, channels, rows, columns], unless only [1, rows, columns, channels] has the image's aspect ratio; three are
    [1, tokens, channels], or [1, rows, columns] where these have the image's aspect ratio.

    >>> find_grid((1, 197, 768), Preprocess(224, 224))
    Grid(layout='tokens', rows=14, columns=14, prefix=1)
    """
    if len(shape) == 4 and shape[0] == 1:
        return _find_planes(shape, preprocess)
    if len(shape) == 3 and shape[0] == 1:
        if _has_aspect(shape[1], shape[2], preprocess) and min(shape[1:]) > 1:
            return Grid("one channel", shape[1], shape[2])
        return find_token_grid(shape[1], preprocess)
    return None


def find_activation_grid(shape: Sequence[int], preprocess: Preprocess) -> Grid | None:
    """Return the positions of activations of this `shape` for one image, as `find_grid`: three axes are tokens and channels."""
    if len(shape) == 3:
        return find_token_grid(shape[1], preprocess) if shape[0] == 1 else None
    return find_grid(shape, preprocess)


def _find_planes(shape: Sequence[int], preprocess: Preprocess) -> Grid | None:
    first = max(shape[2:]) > 1 and _has_aspect(shape[2], shape[3], preprocess)
    last = max(shape[1:3]) > 1 and _has_aspect(shape[1], shape[2], preprocess)
    if last and (not first or (shape[1] == shape[2] != shape[3] and shape[2] != shape[3])):
        return Grid("channels last", shape[1], shape[2])
    return Grid("channels first", shape[2], shape[3]) if first else None


def _has_aspect(rows: int, columns: int, preprocess: Preprocess) -> bool:
    if min(rows, columns) < 1:
        return False
    wanted = preprocess.width / preprocess.height
    spare = 1 / min(rows, columns) if preprocess.width != preprocess.height else 0.0
    return abs(columns / rows / wanted - 1) <= min(_ROUNDING, spare)


def find_token_grid(count: int, preprocess: Preprocess) -> Grid | None:
    """Return the grid of so many tokens, of which some of the first may stand for no position; None where they are no grid."""
    for prefix in _PREFIXES:
        rows = round(math.sqrt((count - prefix) * preprocess.height / preprocess.width)) if count > prefix else 0
        if rows > 1 and rows * ((count - prefix) // rows) == count - prefix:
            columns = (count - prefix) // rows
            if columns > 1 and _has_aspect(rows, columns, preprocess):
                return Grid("tokens", rows, columns, prefix)
    return None
