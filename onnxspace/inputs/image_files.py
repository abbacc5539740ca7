"""One image file: permitted formats and sizes, read upright as RGB, cropped to a square and resized."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxspace.errors import ProbeError
from onnxspace.inputs.image_depth import is_sixteen_bit, largest_of, to_eight_bit
from onnxspace.storage.regular_files import NotRegularError, open_regular

MAX_PIXELS = 100_000_000  # of one photo before it is shrunk; a camera's largest are about 60 million
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})
#: Suffixes of formats that may have more than 8 bits per channel.
DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".ppm", ".pgm"})


@dataclass(frozen=True)
class ImageHeader:
    """The shorter `side` of an image in pixels, and its `largest` value where it has integers of more than 8 bits, else None."""

    side: int
    largest: int | None


def read_square(path: Path, size: int, top: int | None = None) -> NDArray[np.uint8]:
    """Read an image as uint8 [size, size, 3]: upright, RGB, centre-cropped, resized (bilinear). Raises ProbeError naming the file.

    `top` is the value of 16-bit integers that becomes white, as `find_top` finds it; None: that of this image alone.
    """
    return crop_square(read_upright(path, top), size)


def read_upright(path: Path, top: int | None = None) -> Image.Image:
    """Read an image at its own size: upright, RGB; `top` is as in `read_square`. Raises ProbeError naming the file."""
    with open_image(path) as image:
        return to_eight_bit(ImageOps.exif_transpose(image), top).convert("RGB")


def read_header(path: Path) -> ImageHeader:
    """Read an image file's header, and the values of 16-bit integers. Raises ProbeError naming the file."""
    with open_image(path) as image:
        return ImageHeader(min(image.size), largest_of(image) if is_sixteen_bit(image) else None)


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file of a permitted format and size. Raises ProbeError, for errors inside the block too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of the large images that are refused below
            with open_regular(path) as file, Image.open(file, formats=_FORMATS) as image:
                _check_pixels(path, image)
                yield image
    except ProbeError:
        raise
    except NotRegularError as error:
        raise ProbeError(f"{path} is not a regular file. Remove it from the probe folder.") from error
    except Image.DecompressionBombError as error:
        raise ProbeError(f"{path} has more than {MAX_PIXELS} pixels. Remove it, or make it smaller.") from error
    except Exception as error:  # Pillow's decoders raise errors of many types for a damaged file
        raise ProbeError(f"{path} {_describe_error(error)}. Remove it, or save it again.") from error


def _check_pixels(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ProbeError(f"{path} has {width}×{height} pixels, more than {MAX_PIXELS} allowed. Remove it, or make it smaller.")


def crop_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Crop the centre of an RGB image to a square and resize it (bilinear, antialiased): uint8 [size, size, 3].

    A square image of this size stays as it is.
    """
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box), dtype=np.uint8)


def _describe_error(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    why = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".") or type(error).__name__
    return f"can't be read as an image ({why})"
