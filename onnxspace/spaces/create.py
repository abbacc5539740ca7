"""Creation of a space: the folder becomes a space when its catalogue is renamed into place, as the last step."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import ProbeError, SpaceError
from onnxspace.inputs.arrays import count_bands
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.methods import check_target
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Detail, Protocol, Setup, read_baseline
from onnxspace.spaces.catalogue import CATALOGUE, write_catalogue
from onnxspace.spaces.layout import BASELINE, MAPS, PRINTS, PROBES, REDUCED, open_array
from onnxspace.storage.atomic import convert_write_errors, place, sync_folder, write_array

_NEW = ".new-"
_EARLY = {PROBES, BASELINE, MAPS, PRINTS, REDUCED}


def create(folder: Path, protocol: Protocol, images: NDArray[np.uint8] | None, picture: NDArray[np.uint8] | None) -> Protocol:
    """Create the space `folder`, with probe images uint8 [images, size, size, 3] and a baseline uint8 [size, size, 3], if any.

    Returns `protocol`. Raises SpaceError where the folder exists and is in use, and OutputError where it can't be written.
    """
    refuse_occupied(folder)
    mine = not folder.exists()
    token = folder / f"{_NEW}{secrets.token_hex(8)}"
    try:
        with convert_write_errors(folder):
            _prepare(folder)
            _fill(folder, token, protocol, images, picture)
    except BaseException:
        with suppress(OSError):
            token.unlink(missing_ok=True)
            if mine and not (folder / CATALOGUE).exists():
                shutil.rmtree(folder)
        raise
    return protocol


def refuse_occupied(folder: Path) -> None:
    """Raise SpaceError unless `folder` is missing, empty, or a space whose creation was interrupted."""
    if (folder / CATALOGUE).exists():
        raise SpaceError(f"{folder} is already a model space. Add models to it, or name another folder.")
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or any(p.name not in _EARLY and not p.name.startswith(_NEW) for p in folder.iterdir()):
        raise SpaceError(f"{folder} already exists and is not a model space. Name another folder, or remove it.")


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{_NEW}*"):
        path.unlink()
    for name in (MAPS, PRINTS):
        (folder / name).mkdir(exist_ok=True)


def _fill(folder: Path, token: Path, protocol: Protocol, images: NDArray[Any] | None, picture: NDArray[Any] | None) -> None:
    if images is not None:
        write_array(token, images)
        place(token, folder / PROBES)
    if picture is not None:
        Image.fromarray(picture).save(token, format="PNG")
        place(token, folder / BASELINE)
    write_catalogue(token, protocol)
    place(token, folder / CATALOGUE)
    sync_folder(folder.parent)


def new_space(folder: Path, setup: Setup, keep_maps: bool, detail: Detail = "maps") -> Protocol:
    """Make a space. Raises ConfigError for impossible options, SpaceError where something is there already."""
    check_target(setup.method, setup.target)
    refuse_occupied(folder)
    protocol, probes = setup.protocol(keep_maps, detail), setup.probes
    return create(folder, protocol, probes.images if protocol.stored else None, read_baseline(protocol.options, probes.size))


def probes_of(folder: Path, protocol: Protocol, given: Probes | None) -> Probes:
    """The images that every model of the space is explained on. Raises SpaceError where `given` or stored ones differ."""
    if given is not None:
        return _same(folder, protocol, given, "These probe images are not those of")
    if protocol.stored:
        shape = (protocol.images, protocol.size, protocol.size, count_bands(folder / PROBES))
        images = open_array(folder / PROBES, shape, np.dtype("u1"))
        return _same(folder, protocol, Probes(protocol.probe, images), f"{PROBES} is damaged: its images are not those of")
    if protocol.seed is not None:
        return _same(
            folder,
            protocol,
            Probes.generate(protocol.images, protocol.size, protocol.seed),
            "The images drawn here are not those of",
        )
    raise SpaceError(
        f"{folder} does not hold its probe images ({protocol.probe}, {protocol.images}). Give their folder with --probe."
    )


def baseline_of(folder: Path, protocol: Protocol) -> Path:
    """Return the path of the baseline picture. Raises SpaceError where the file is missing or has changed."""
    path = folder / BASELINE
    try:
        whole = hashlib.sha256(read_square(path, protocol.size).tobytes()).hexdigest() == protocol.baseline
    except ProbeError as error:
        raise SpaceError(f"{path} is missing or damaged ({error}) Restore the picture, or make another space.") from error
    if not whole:
        raise SpaceError(f"{path} is damaged: it is another picture. Restore the picture, or make another space.")
    return path


def _same(folder: Path, protocol: Protocol, probes: Probes, what: str) -> Probes:
    if probes.sha256 != protocol.sha256:
        raise SpaceError(
            f"{what} {folder} ({protocol.probe}, {protocol.images} of {protocol.size} pixels, SHA-256 "
            f"{protocol.sha256[:12]}), so maps would not be comparable. Give the same images, or make another space."
        )
    return probes
