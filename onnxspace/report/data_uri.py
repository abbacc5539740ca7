"""Pictures as data URIs for HTML, and the colours of maps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.data_uri import data_uri as data_uri

#: Percentile of all |values| at which the colour scale ends, so that a single bright pixel does not wash out the rest.
PERCENTILE = 99.0


def limit_of(maps: NDArray[Any]) -> float:
    """The value at which the colour scale of these maps ends; 1 where all are zero."""
    limit = float(np.percentile(np.abs(maps), PERCENTILE)) if maps.size else 0.0
    return limit if limit > 0 else 1.0


def to_grey(maps: NDArray[Any], limit: float, *, signed: bool) -> NDArray[np.uint8]:
    """Convert values to grey uint8 of the same shape: −`limit` is black, 0 mid-grey, `limit` white; unsigned, 0 is black."""
    share = np.clip(np.asarray(maps, dtype=np.float64) / limit, -1.0, 1.0)
    return np.rint(127.5 + 127.5 * share if signed else 255.0 * np.maximum(share, 0.0)).astype(np.uint8)


def palette(signed: bool, steps: int = 256) -> NDArray[np.float64]:
    """The colours for `to_grey`'s values from black to white, float64 [steps, 3] in [0, 1], as in `onnxspace explain`."""
    from matplotlib import colormaps

    found: NDArray[np.float64] = np.asarray(colormaps["RdBu_r" if signed else "magma"](np.linspace(0, 1, steps)))[:, :3]
    return found


def to_colours(maps: NDArray[Any], limit: float, *, signed: bool) -> NDArray[np.uint8]:
    """Convert values to colours, uint8 [..., 3]; see `to_grey`."""
    colours = np.rint(255 * palette(signed)).astype(np.uint8)
    found: NDArray[np.uint8] = colours[to_grey(maps, limit, signed=signed)]
    return found
