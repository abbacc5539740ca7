"""Several sets of probe images in a space: each further one is a space of its own in the folder `sets`.

So every promise on interruptions, writers and damage holds for each set. The first set, `default`, is the space itself; its method,
options and sketch are those of all sets.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import SpaceError
from onnxspace.inputs.image_statistics import NUMBERS, describe_images
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Detail, Protocol, read_baseline
from onnxspace.spaces.catalogue import CATALOGUE, SETS, open_catalogue
from onnxspace.spaces.create import baseline_of, create, probes_of
from onnxspace.spaces.layout import PRINTS, STATISTICS
from onnxspace.spaces.workdirs import open_workbench
from onnxspace.storage.atomic import convert_write_errors, place, write_array
from onnxspace.storage.printable import shorten
from onnxspace.storage.regular_files import map_array

DEFAULT_SET = "default"
MOST_SETS = 100
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_LARGEST = 1e6


def list_sets(folder: Path) -> tuple[str, ...]:
    """Return the names of the sets of a space, `default` first, the others in the order of their names."""
    try:
        found = sorted(path.name for path in (folder / SETS).iterdir() if _is_set(path))
    except (FileNotFoundError, NotADirectoryError):
        return (DEFAULT_SET,)
    return DEFAULT_SET, *found[: MOST_SETS - 1]


def list_lost_sets(folder: Path) -> list[Path]:
    """Return the folders of sets whose catalogue is gone while there are files of models; a set that was not finished has none."""
    with suppress(OSError):
        named = sorted(path for path in (folder / SETS).iterdir() if _NAME.fullmatch(path.name) and not path.is_symlink())
        return [path for path in named if not (path / CATALOGUE).is_file() and any((path / PRINTS).glob("*.npy"))]
    return []


def _is_set(path: Path) -> bool:
    named = _NAME.fullmatch(path.name) is not None and path.name != DEFAULT_SET
    return named and not path.is_symlink() and (path / CATALOGUE).is_file()


def find_set(folder: Path, name: str) -> Path:
    """Return the folder of the set `name`. Raises SpaceError where there is none."""
    names = list_sets(folder)
    if name not in names:
        raise SpaceError(f"{folder}: {describe_unknown('set of probe images', name, names)}")
    return folder if name == DEFAULT_SET else folder / SETS / name


def read_set_protocol(folder: Path) -> Protocol:
    """Return the protocol of a further set. Raises SpaceError, with the way out, where its catalogue is unreadable."""
    try:
        with open_catalogue(folder) as book:
            return book.protocol()
    except SpaceError as error:
        why = str(error).split(". ")[0].rstrip(".")
        raise SpaceError(
            f"The set of probe images {folder.name} can't be read ({why}). Restore {folder} from a copy, or delete it."
        ) from error


def create_set(folder: Path, protocol: Protocol, name: str, probes: Probes, detail: Detail) -> Protocol:
    """Add an empty set of probe images to the space `folder` of this `protocol`, and store statistics of the images.

    The space is then one of format 3. Raises SpaceError for a name that can't be used or is taken, and for images that a set has
    already, and OutputError.
    """
    names = list_sets(folder)
    if _NAME.fullmatch(name) is None or name == DEFAULT_SET:
        raise SpaceError(
            f"{shorten(name)!r} is no name for a set: use letters, digits, '_', '-' and '.', and not {DEFAULT_SET!r}."
        )
    if name in names:
        raise SpaceError(f"{folder} has a set called {name} already. Choose another name.")
    if len(names) >= MOST_SETS:
        raise SpaceError(f"{folder} has {len(names)} sets, the most that a space can have. Add images to another space.")
    for other in names:
        with open_catalogue(find_set(folder, other)) as book:
            if book.protocol().sha256 == probes.sha256:
                raise SpaceError(f"{folder} has these images already, as the set {other}. Give other images.")
    with open_catalogue(folder) as book, book.transaction():
        book.upgrade()
    if not (folder / SETS).is_dir():
        with convert_write_errors(folder / SETS):
            (folder / SETS).mkdir(exist_ok=True)
    if not (folder / STATISTICS).exists():
        with suppress(SpaceError):  # it does not hold its images
            store_statistics(folder, probes_of(folder, protocol, None))
    return _create(folder, protocol, name, probes, detail)


def _create(folder: Path, protocol: Protocol, name: str, probes: Probes, detail: Detail) -> Protocol:
    setup = protocol.setup(probes, None if protocol.baseline is None else baseline_of(folder, protocol))
    made = setup.protocol(protocol.keep_maps, detail)
    made = replace(made, numbers=protocol.numbers, sketch=protocol.sketch)
    picture = read_baseline(made.options, probes.size)
    create(folder / SETS / name, made, probes.images if made.stored else None, picture)
    store_statistics(folder / SETS / name, probes)
    return made


def read_statistics(folder: Path, protocol: Protocol) -> NDArray[np.float32]:
    """Return the statistics of a set's images, float32 [images, numbers], which are computed where they are missing or damaged.

    Raises SpaceError where the images are not in the space then.
    """
    with suppress(OSError, ValueError, EOFError, SyntaxError):
        found = np.asarray(map_array(folder / STATISTICS, follow=False))
        shaped = found.dtype == np.dtype("<f4") and found.ndim == 2 and found.shape[1] == NUMBERS and len(found) > 0
        if shaped and bool((np.abs(found) < _LARGEST).all()):
            return found
    return describe_images(probes_of(folder, protocol, None).images)


def store_statistics(folder: Path, probes: Probes) -> None:
    """Compute and store the statistics of a set's images. Raises OutputError."""
    with open_workbench(folder) as bench:
        write_array(bench / STATISTICS, describe_images(probes.images).astype("<f4"))
        place(bench / STATISTICS, folder / STATISTICS)
