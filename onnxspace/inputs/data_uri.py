"""Pictures as data URIs for HTML."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray


def data_uri(pixels: NDArray[np.uint8], quality: int = 80) -> str:
    """Encode an image uint8 [height, width] (grey) or [height, width, 3] as a WebP data URI; `quality` is from 0 to 100."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode("ascii")
