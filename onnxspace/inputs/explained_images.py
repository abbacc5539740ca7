"""The few images that `explain` draws: photos, or files of several bands, with their names and what is shown of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import ProbeError
from onnxspace.inputs.arrays import is_array, read_array, to_rgb
from onnxspace.inputs.band_images import has_bands, read_band_images
from onnxspace.inputs.image_files import read_header, read_square
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.inputs.photo_folder import describe_broken, find_top, list_photos, read_each, refuse_broken
from onnxspace.inputs.probes import DEFAULT_SIZE, Probes
from onnxspace.storage.short_text import count


@dataclass(frozen=True, eq=False)
class NamedImages:
    """Probe images with a name each; `paths` are the files that they are of, `note` says what is shown of images that are not RGB."""

    names: tuple[str, ...]
    probes: Probes
    paths: tuple[Path, ...] = ()

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """What is shown of the images: uint8 [images, size, size, 3]."""
        images = self.probes.images
        return images if self.probes.bands == 3 else np.stack([to_rgb(image) for image in images])

    @property
    def note(self) -> str:
        """What is shown of images that do not have three bands, in words."""
        if self.probes.bands == 3:
            return ""
        shown = "bands 0, 1, 2 as red, green, blue" if self.probes.bands > 3 else "band 0 in grey"
        return f"images of {count(self.probes.bands, 'band')}: {shown}"


def choose_photos(folder: Path, most: int, verb: str = "shown") -> tuple[list[Path], tuple[str, ...]]:
    """Return at most `most` photos of a folder, evenly spaced in the order of their names, and what is left out, in sentences.

    `verb` says what is done with those that are chosen.

    Raises ProbeError for a folder without photos.
    """
    listed = list_photos(folder)
    total = len(listed.files)
    chosen = [listed.files[k] for k in np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist()]
    skipped = (f"{len(chosen)} of the {total:,} photos in {folder} are {verb}, evenly spaced.",) if len(chosen) < total else ()
    return chosen, (*listed.remarks, *skipped)


def read_images(paths: Sequence[Path], most: int, *, skip_broken: bool) -> NamedImages:
    """Read image files at 224 pixels: photos, TIFF files of several bands, and `.npy` arrays of one image or of up to `most`.

    With `skip_broken`, photos that can't be read are left out. Raises ProbeError, naming all photos that can't be read.
    """
    for path in paths:
        if not path.exists():
            raise ProbeError(f"{path}: {describe_missing_file(Path(path))}")
        if path.is_dir():
            raise ProbeError(f"{path} is a folder. Give it as --probe {path}, or name image files one by one.")
        if not path.is_file():
            raise ProbeError(f"{path} is not a regular file. Name image files one by one.")
    banded = [has_bands(path) for path in paths]
    if not any(banded):
        return _read_photos(paths, skip_broken=skip_broken)
    if not all(banded):
        raise ProbeError(
            f"{paths[banded.index(False)]} is a photo, and {paths[banded.index(True)]} has bands. Explain them apart."
        )
    return _read_bands(paths, most)


def _read_photos(paths: Sequence[Path], *, skip_broken: bool) -> NamedImages:
    top = find_top(read_each(paths, read_header)[0].values())
    pixels, broken = read_each(paths, lambda path: read_square(path, DEFAULT_SIZE, top))
    if broken and not (skip_broken and pixels):
        raise refuse_broken(list(broken.values()), len(paths))
    probes = Probes("images", np.stack(list(pixels.values())), describe_broken(list(broken.values())))
    files = [paths[k] for k in pixels]
    return NamedImages(tuple(_name_all(files)), probes, tuple(files))


def _name_all(paths: Sequence[Path]) -> list[str]:
    """The stems of the files, those that several have with their folder, as `star/0`."""
    names = [_name(path) for path in paths]
    often = Counter(names)
    return [
        f"{_name(path.parent)}/{name}" if often[name] > 1 and path.parent.name else name
        for path, name in zip(paths, names, strict=True)
    ]


def _name(path: Path) -> str:
    return path.stem.encode("utf-8", "backslashreplace").decode("utf-8")


def _read_bands(paths: Sequence[Path], most: int) -> NamedImages:
    """TIFF files have the range of all of them, each array its own."""
    tiffs = [path for path in paths if not is_array(path)]
    pixels = dict(zip(tiffs, read_band_images(tiffs, DEFAULT_SIZE)[:, None], strict=True)) if tiffs else {}
    pixels |= {path: _read_array(path, most) for path in paths if is_array(path)}
    first = pixels[paths[0]]
    for path in paths:
        if pixels[path].shape[3] != first.shape[3]:
            raise ProbeError(
                f"{path} has {count(pixels[path].shape[3], 'band')}, {paths[0]} has {first.shape[3]}. Explain them apart."
            )
    names = [
        name if len(pixels[path]) == 1 else f"{name}[{k}]"
        for path, name in zip(paths, _name_all(paths), strict=True)
        for k in range(len(pixels[path]))
    ]
    files = tuple(path for path in paths for _ in range(len(pixels[path])))
    return NamedImages(tuple(names), Probes("images", np.concatenate([pixels[path] for path in paths])), files)


def _read_array(path: Path, most: int) -> NDArray[np.uint8]:
    return read_array(path, partial(_choose_rows, path, most), DEFAULT_SIZE)[1]


def _choose_rows(path: Path, most: int, rows: int) -> range:
    if rows > most:
        raise ProbeError(
            f"{path} holds {rows} images, more than the {most} that a picture shows. Save some of them as an array."
        )
    return range(rows)
