"""Probe images: the set of unlabelled images on which every model is explained."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.arrays import is_array, read_array
from onnxspace.inputs.band_images import read_band_images
from onnxspace.inputs.band_tiff import open_band_tiff
from onnxspace.inputs.data_uri import data_uri
from onnxspace.inputs.photo_folder import DEFAULT_SIZE as DEFAULT_SIZE
from onnxspace.inputs.photo_folder import draw_sample, list_photos, read_sample
from onnxspace.inputs.scenes import render
from onnxspace.storage.short_text import count, join_lines, wrap_notes

DEFAULT_IMAGES = 64
MAX_IMAGES = 100_000
_SHOWN = 8  # in a notebook


@dataclass(frozen=True, eq=False)
class Probes:
    """A named probe set: `images` is uint8 [images, size, size, bands], RGB where it has three bands.

    `name` is `generated-SEED`, or the folder's name for photos. Two sets are the same where their `sha256` is, which covers the
    shape and all pixels, but not the name. `remarks` says in a line each which files of the folder were left out.
    """

    name: str
    images: NDArray[np.uint8]
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        bands = f", {self.bands} bands" if self.bands != 3 else ""
        heading = f"Probes {self.name!r}: {count(len(self), 'image')} of {self.size} × {self.size} pixels{bands}"
        return join_lines(heading, wrap_notes(self.remarks))

    def _repr_html_(self) -> str:
        """The first images, for notebooks; of several bands, the first three."""
        bands = min(self.bands, 3) if self.bands != 2 else 1
        shown = [data_uri(image[..., :bands].squeeze()) for image in self.images[:_SHOWN]]
        pictures = "".join(f'<img width="96" alt="" src="{uri}"> ' for uri in shown)
        return f"<p>{escape(repr(self))}</p><p>{pictures}</p>"

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
    def from_folder(
        cls, folder: str | Path, images: int | None = None, size: int | None = None, seed: int = 0, *, skip_broken: bool = False
    ) -> Probes:
        """Read the photos of `folder` and its subfolders, centre-cropped to a square and resized to `size` pixels (bilinear).

        At most `images` of them (None: 64) are sampled by `seed` from the sorted names; photos with equal bytes or pixels count once.
        Where `size` is None, it is 224, or the longest of their shorter sides where none is longer: small pictures keep their own
        size, and none is below 16. Shrinking is antialiased. 16-bit images have the range 0–65535, or 0–4095 where none of the sample
        exceeds it; floats [0, 1], [0, 255] or [0, 65535], the first of these that holds them. With `skip_broken`, others take the
        places of photos that can't be read. Raises ProbeError for a folder without images, and naming all photos that can't be
        read, have more than 100 million pixels, or more than 8 bits and values that are not finite or all equal.

        A `.npy` file instead of a folder is read by `arrays.read_array`, TIFF files of several bands by `band_images.read_band_images`.

        >>> Probes.from_folder("photos", images=100).images.shape  # doctest: +SKIP
        (100, 224, 224, 3)
        """
        folder = Path(folder)
        count = DEFAULT_IMAGES if images is None else images
        _check_count(count)
        if is_array(folder):
            return cls(*read_array(folder, lambda rows: draw_sample(range(rows), count, seed), size))
        name = folder.resolve().name.encode("utf-8", "backslashreplace").decode("utf-8")  # bytes that are not text
        if (banded := _find_banded(folder, count, seed)) is not None:
            return cls(name or "photos", read_band_images(banded, size))
        sample = read_sample(folder, count, size, seed, skip_broken=skip_broken)
        return cls(name or "photos", sample.images, sample.remarks)


def _find_banded(folder: Path, count: int, seed: int) -> list[Path] | None:
    """A sample of the folder's files where the first of it is a TIFF file of several bands; None where it is a photo."""
    files = list_photos(folder).files
    chosen = [files[i] for i in draw_sample(range(len(files)), count, seed)]
    return chosen if open_band_tiff(chosen[0]) else None


def _check_count(images: int) -> None:
    if not 1 <= images <= MAX_IMAGES:
        raise ProbeError(f"{images} probe images can't be used: give a number from 1 to {MAX_IMAGES}.")
