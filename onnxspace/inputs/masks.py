"""Masks of objects: a folder of pictures, each for the image of its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps

from onnxspace.errors import ConfigError
from onnxspace.inputs.areas import Mask
from onnxspace.inputs.image_files import SUFFIXES, crop_square, open_image, read_upright

MOST_FILES = 100_000
#: Values above which a pixel of a mask is bright.
_DARK = 127


@dataclass(frozen=True)
class MaskFolder:
    """The pictures of a folder and of its folders one level below, by their path inside it without a suffix."""

    path: Path
    files: dict[str, Path]


def find_masks(folder: str | Path) -> MaskFolder:
    """List the pictures in `folder`, at most 100,000. Raises ConfigError for what is no folder of pictures, and for two of one name.

    >>> find_masks("masks").files["star/0"]  # doctest: +SKIP
    PosixPath('masks/star/0.png')
    """
    path = Path(folder)
    if not path.is_dir():
        raise ConfigError(f"{path} is not a folder. Give one with a picture of the name of each image as --masks.")
    files: dict[str, Path] = {}
    for file in _iter_pictures(path):
        name = file.relative_to(path).with_suffix("").as_posix()
        if name in files:
            raise ConfigError(f"{path} has two masks for {name}: {files[name].name} and {file.name}. Keep one.")
        files[name] = file
        if len(files) > MOST_FILES:
            raise ConfigError(f"{path} has more than {MOST_FILES:,} masks. Give a folder of fewer.")
    if not files:
        raise ConfigError(f"{path} has no picture. Give a folder with a mask of the name of each image as --masks.")
    return MaskFolder(path, files)


def _iter_pictures(path: Path) -> Iterator[Path]:
    """Pictures in the folder and one level below, in order; what links lead to outside of it is left out."""
    try:
        root = path.resolve()
        for file in sorted([*path.glob("*"), *path.glob("*/*")]):
            if file.suffix.lower() in SUFFIXES and file.is_file() and file.resolve().is_relative_to(root):
                yield file
    except OSError as error:
        raise ConfigError(f"{path} can't be read ({error.strerror or error}). Give a folder of masks.") from error


def fit_masks(folder: MaskFolder, images: Sequence[Path], size: int) -> tuple[Mask, ...]:
    """Return the mask of each of `images`, bool [size, size], None where it has none; masks are cropped and resized as their images are.

    The mask of an image has its name, in the folder or in one there that is called as the image's own is; it has the image's upright
    size, and its bright pixels, above 127 in one of their colours, are on the object. Raises ConfigError for a mask of another size and
    where no image has one, ProbeError for a picture that can't be read.
    """
    named = [_find(folder, image) for image in images]
    _refuse_shared(folder, named, images)
    found = tuple(None if file is None else _read(file, image, size) for file, image in zip(named, images, strict=True))
    if not any(file is not None for file in named):
        raise ConfigError(
            f"{folder.path} has no mask of the name of an image, such as {images[0].stem}.png. Name masks as images."
        )
    if not any(mask is not None and mask.any() for mask in found):
        raise ConfigError(f"No mask of {folder.path} has a bright pixel inside of its image's square. Paint objects white.")
    return found


def _find(folder: MaskFolder, image: Path) -> Path | None:
    own = image.absolute()
    return folder.files.get(f"{own.parent.name}/{own.stem}") or folder.files.get(own.stem)


def _refuse_shared(folder: MaskFolder, named: Sequence[Path | None], images: Sequence[Path]) -> None:
    first: dict[Path, Path] = {}
    for file, image in zip(named, images, strict=True):
        if file is not None and first.setdefault(file, image).absolute() != image.absolute():
            raise ConfigError(
                f"{file} would be the mask of both {first[file]} and {image}. Put masks into folders of {folder.path} named as the images' are."
            )


def _read(file: Path, image: Path, size: int) -> NDArray[np.bool_]:
    picture = read_upright(file)
    with open_image(image) as photo:
        own = ImageOps.exif_transpose(photo).size
    if picture.size != own:
        raise ConfigError(
            f"{file} has {picture.width}×{picture.height} pixels, but {image} has {own[0]}×{own[1]}. Give a mask of the image's size."
        )
    bright: NDArray[np.bool_] = crop_square(picture, size).max(axis=2) > _DARK
    return bright
