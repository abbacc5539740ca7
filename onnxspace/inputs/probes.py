"""Probe images: the set of unlabelled images on which every model is explained."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from onnxspace.errors import ProbeError
from onnxspace.inputs.arrays import is_array, read_array
from onnxspace.inputs.band_tiff import open_band_tiff, read_band_folder
from onnxspace.inputs.scenes import render
from onnxspace.storage.regular_files import NotRegularError, open_regular

DEFAULT_IMAGES = 64
DEFAULT_SIZE, SMALLEST = 224, 16
MAX_IMAGES = 100_000
MAX_PIXELS = 100_000_000  # of one photo before it is shrunk; a camera's largest are about 60 million
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM", "GIF")
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif"})


@dataclass(frozen=True, eq=False)
class Probes:
    """A named probe set: `images` is uint8 [images, size, size, bands], RGB where it has three bands.

    `name` is `generated-SEED`, or the folder's name for photos. Two sets are the same where their `sha256` is, which covers the
    shape and all pixels, but not the name.
    """

    name: str
    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of the square images, in pixels."""
        return int(self.images.shape[1])

    @property
    def bands(self) -> int:
        """Number of bands of each image: 3 for photos, and those of all frames for videos."""
        return int(self.images.shape[3])

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of shape and pixels, in 64 hex digits."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        return digest.hexdigest()

    @classmethod
    def generate(cls, images: int = DEFAULT_IMAGES, size: int = DEFAULT_SIZE, seed: int = 0) -> Probes:
        """Generate `images` images of `size` × `size` pixels (16–1024) with the statistics of natural ones.

        The bytes are the same on every platform, and image k of a `seed` is the same for any number of images. Raises ProbeError for
        numbers out of range.

        >>> Probes.generate(2, 32).images.shape
        (2, 32, 32, 3)
        """
        _check_count(images)
        try:
            pixels = np.stack([render(seed, index, size) for index in range(images)])
        except ValueError as error:
            raise ProbeError(f"The probe set can't be generated: {error}") from error
        return cls(f"generated-{seed}", pixels)

    @classmethod
    def from_folder(cls, folder: str | Path, images: int | None = None, size: int | None = None, seed: int = 0) -> Probes:
        """Read the photos of a folder and its subfolders, centre-cropped to a square and resized to `size` pixels (bilinear).

        At most `images` of them (None: 64) are sampled by `seed` from the sorted names. Where `size` is None, it is 224, or the
        longest of their shorter sides where none is longer: small pictures keep their own size, and none is below 16. Shrinking is
        antialiased. A `.npy` file instead of a folder is read by `arrays.read_array`, TIFF files of several bands by `band_tiff.read_band_folder`. Raises ProbeError for a folder without images, an unreadable image, or one of more than 100 million pixels.
        """
        folder = Path(folder)
        count = DEFAULT_IMAGES if images is None else images
        _check_count(count)
        if is_array(folder):
            return cls(*read_array(folder, lambda rows: draw_sample(range(rows), count, seed), size))
        files = find_images(folder)
        chosen = [files[i] for i in draw_sample(range(len(files)), count, seed)]
        pixels = read_band_folder(chosen, size) if open_band_tiff(chosen[0]) else _read_photos(chosen, size)
        name = folder.resolve().name.encode("utf-8", "backslashreplace").decode("utf-8")  # bytes that are not text
        return cls(name or "photos", pixels)


def _read_photos(files: Sequence[Path], size: int | None) -> NDArray[np.uint8]:
    """Read photos as uint8 [images, size, size, 3]."""
    side = find_size(files) if size is None else size
    pixels = np.empty((len(files), side, side, 3), np.uint8)
    for target, path in zip(pixels, files, strict=True):
        target[:] = read_square(path, side)
    return pixels


def find_size(files: Sequence[Path]) -> int:
    """Return the size in pixels at which images lose nothing that a network of up to 224 pixels sees: from 16 to 224.

    It is the longest of the shorter sides of the image `files`, whose headers are read. Raises ProbeError naming a file that
    can't be read.
    """
    size = SMALLEST
    for path in files:
        size = max(size, min(_read_sides(path)))
        if size >= DEFAULT_SIZE:
            return DEFAULT_SIZE
    return size


def _check_count(images: int) -> None:
    if not 1 <= images <= MAX_IMAGES:
        raise ProbeError(f"{images} probe images can't be used: give a number from 1 to {MAX_IMAGES}.")


def find_images(folder: Path, what: str = "probe folder") -> list[Path]:
    """Return the image files of a folder and its subfolders, sorted by name, without hidden ones.

    `what` is the folder's role in messages. Raises ProbeError for a folder without images.
    """
    if not folder.is_dir():
        why = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ProbeError(f"The {what} {folder} {why}. Give a folder of photos.")
    found = sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not found:
        kinds = ", ".join(sorted(suffix[1:] for suffix in _SUFFIXES))
        raise ProbeError(f"The {what} {folder} holds no images ({kinds}). Give a folder of photos.")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in files if Path(name).suffix.lower() in _SUFFIXES and name[0] != ".")


def _refuse_folder(error: OSError) -> None:
    raise ProbeError(f"The probe folder {error.filename} can't be read ({error.strerror}). Check its permissions.") from error


def draw_sample(rows: range, count: int, seed: int) -> list[int]:
    """Sample at most `count` of the numbers `rows` by `seed`, without replacement; returns them in their order."""
    if len(rows) <= count:
        return list(rows)
    keys = [hashlib.sha256(f"{seed}/{index}".encode()).digest() for index in rows]
    return sorted(sorted(rows, key=keys.__getitem__)[:count])


def read_square(path: Path, size: int) -> NDArray[np.uint8]:
    """Read an image as uint8 [size, size, 3]: upright, RGB, centre-cropped, resized (bilinear). Raises ProbeError naming the file."""
    return crop_square(read_upright(path), size)


def read_upright(path: Path) -> Image.Image:
    """Read an image at its own size: upright, RGB. Raises ProbeError naming the file."""
    with _open_image(path) as image:
        return _to_eight_bit(ImageOps.exif_transpose(image)).convert("RGB")


def _read_sides(path: Path) -> tuple[int, int]:
    """Width and height of an image file, from its header."""
    with _open_image(path) as image:
        return image.size


@contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
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


def _to_eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey images to 8 bits: Pillow's conversion would clip them to white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image, dtype=np.int64).clip(0, 65535) // 257).astype(np.uint8))


def _describe_error(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "is not an image"
    why = (error.strerror if isinstance(error, OSError) else None) or str(error).rstrip(".") or type(error).__name__
    return f"can't be read as an image ({why})"
