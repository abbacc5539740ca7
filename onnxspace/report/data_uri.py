"""Small pictures inside a page: pixels as data URIs, and the colours of maps."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Colours end at this percentile of all |values|: a single bright pixel would wash out everything else.
PERCENTILE = 99.0


def data_uri(pixels: NDArray[np.uint8], quality: int = 80) -> str:
    """An image uint8 [height, width] (grey) or [height, width, 3] as a WebP data URI."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def limit_of(maps: NDArray[Any]) -> float:
    """The value at which the colours of these maps end; 1 where all are zero."""
    limit = float(np.percentile(np.abs(maps), PERCENTILE)) if maps.size else 0.0
    return limit if limit > 0 else 1.0


def grey(maps: NDArray[Any], limit: float, *, signed: bool) -> NDArray[np.uint8]:
    """Values as grey: −limit black, 0 the middle, limit white; or 0 black where maps have no sign."""
    share = np.clip(np.asarray(maps, dtype=np.float64) / limit, -1.0, 1.0)
    return np.rint(127.5 + 127.5 * share if signed else 255.0 * np.maximum(share, 0.0)).astype(np.uint8)


def palette(signed: bool, steps: int = 256) -> NDArray[np.float64]:
    """Colours from black to white of `grey`, float64 [steps, 3] in [0, 1]: those of `onnxspace explain`."""
    from matplotlib import colormaps

    found: NDArray[np.float64] = np.asarray(colormaps["RdBu_r" if signed else "magma"](np.linspace(0, 1, steps)))[:, :3]
    return found


def coloured(maps: NDArray[Any], limit: float, *, signed: bool) -> NDArray[np.uint8]:
    """Values in their colours: uint8 [..., 3]."""
    colours = np.rint(255 * palette(signed)).astype(np.uint8)
    found: NDArray[np.uint8] = colours[grey(maps, limit, signed=signed)]
    return found
