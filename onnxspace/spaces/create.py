"""A new space: its folder is one as soon as its catalogue has its name, which comes last."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import SpaceError
from onnxspace.spaces.catalogue import CATALOGUE, write_catalogue
from onnxspace.spaces.layout import BASELINE, MAPS, PRINTS, PROBES, place, sync_folder, write_array, written
from onnxspace.spaces.schema import Made

_NEW = ".new-"
_EARLY = {PROBES, BASELINE, MAPS, PRINTS}


def create(folder: Path, made: Made, images: NDArray[np.uint8] | None, picture: NDArray[np.uint8] | None) -> Made:
    """Make the space `folder`, with probe images uint8 [images, size, size, 3] and a baseline uint8 [size, size, 3], if any.

    Gives `made` back. Raises SpaceError where something is there already, OutputError where it can't be written.
    """
    refuse_taken(folder)
    mine = not folder.exists()
    token = folder / f"{_NEW}{secrets.token_hex(8)}"
    try:
        with written(folder):
            _prepare(folder)
            _fill(folder, token, made, images, picture)
    except BaseException:
        with suppress(OSError):
            token.unlink(missing_ok=True)
            if mine and not (folder / CATALOGUE).exists():
                shutil.rmtree(folder)
        raise
    return made


def refuse_taken(folder: Path) -> None:
    """Raise SpaceError where `folder` is anything but nothing, an empty folder, or a space that was never finished."""
    if (folder / CATALOGUE).exists():
        raise SpaceError(f"{folder} is a model space already. Add models to it, or name another folder.")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or any(p.name not in _EARLY and not p.name.startswith(_NEW) for p in folder.iterdir()):
        raise SpaceError(f"{folder} is there already and is no model space. Name another folder, or remove it.")


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{_NEW}*"):
        path.unlink()
    for name in (MAPS, PRINTS):
        (folder / name).mkdir(exist_ok=True)


def _fill(folder: Path, token: Path, made: Made, images: NDArray[Any] | None, picture: NDArray[Any] | None) -> None:
    if images is not None:
        write_array(token, images)
        place(token, folder / PROBES)
    if picture is not None:
        Image.fromarray(picture).save(token, format="PNG")
        place(token, folder / BASELINE)
    write_catalogue(token, made)
    place(token, folder / CATALOGUE)
    sync_folder(folder.parent)
