"""Write the result folder of a comparison, whole or not at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.errors import OutputError
from onnxspace.similarity.affinity import SCHEMAS, Affinity
from onnxspace.storage.regular_files import read_regular
from onnxspace.storage.resume import WorkFolders, open_work_folder

SUMMARY = "score.json"
#: File of the photos that models were explained on, uint8 [images, size, size, 3]; generated images are not kept.
PROBES = "probes.npy"
_MOST_BYTES = 2**30  # of photos: 7,000 of 224 × 224 pixels, as many as a space keeps
_CONTENT = {SUMMARY, PROBES, "affinity.npy", "affinity.csv", "rankings.csv", "affinity.png", "maps"}
_MATRIX = re.compile(r"score-[\w.-]+\.(npy|csv|png)")


@contextmanager
def result_folder(target: Path, command: str, images: int) -> Iterator[WorkFolders]:
    """Create a working folder, and rename its result to `target` when the block ends without an error and wrote one.

    `command` (16 hex digits) identifies all that determines maps of `images` rows besides the model: unfinished work of an
    earlier run of it is reused, and the work of this run is kept when it is interrupted. An earlier result at `target` is
    replaced; anything else there is refused before any work is done. Raises OutputError.
    """
    refuse_foreign_folder(target)
    place = Path(os.path.realpath(target))
    with _output_errors(target), open_work_folder(place, command, images) as work, _output_errors(target):
        yield work
        if (work.result / SUMMARY).exists():
            refuse_foreign_folder(target)  # again: hours may have passed
            _swap(work, place)


@contextmanager
def _output_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(error.errno, _error_message(target, error)) from error


def _error_message(target: Path, error: OSError) -> str:
    return f"{target} can't be written ({error.strerror or error}). Free some space, or name another --output."


def refuse_foreign_folder(target: Path) -> None:
    """Raise OutputError unless `target` is free, an empty folder, or an earlier result."""
    if os.path.ismount(target):
        raise OutputError(f"{target} is a mount point, which can't be replaced. Name a folder inside it as --output.")
    try:
        if target.is_dir() and (_is_result(target) or not any(target.iterdir())):
            return
        taken = target.exists() or target.is_symlink()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{target} can't be used as --output ({reason}). Name another --output.") from error
    if taken:
        raise OutputError(
            f"{target} already exists and is, or contains, something else than a result of onnxspace score. "
            "Name another --output, or remove it."
        )


def _is_result(target: Path) -> bool:
    try:
        written = str(json.loads(read_regular(target / SUMMARY))["schema"]) in SCHEMAS
        return written and all(file.name in _CONTENT or _MATRIX.fullmatch(file.name) for file in target.iterdir())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _swap(work: WorkFolders, target: Path) -> None:
    """Replace the old folder by the new one, flushed to disk; the old one is restored if that fails."""
    for path in (*work.result.rglob("*"), work.result):
        _sync(path)
    if target.exists():
        target.rename(work.old)
    try:
        work.result.rename(target)
    except BaseException:
        if work.old.exists() and not target.exists():
            work.old.rename(target)
        raise
    _sync(target.parent)


def _sync(path: Path) -> None:
    with suppress(OSError):  # folders can't be opened everywhere
        number = os.open(path, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def place_maps(folder: Path, maps: Iterable[tuple[str, Path]]) -> None:
    """Put map files into `folder`, named by the first 12 digits of the model's SHA-256, numbered where it has several files.

    `maps` are pairs of SHA-256 and file. Where the disk has hard links, the working folder keeps them too, so that an
    interruption loses no map.
    """
    folder.mkdir()
    for sha256, path in dict.fromkeys(maps):
        target, number = folder / f"{sha256[:12]}.npy", 2
        while target.exists():
            target, number = folder / f"{sha256[:12]}-{number}.npy", number + 1
        try:
            os.link(path, target)
        except OSError:
            path.rename(target)


def place_probes(folder: Path, images: NDArray[np.uint8]) -> None:
    """Keep the photos `images` uint8 [images, size, size, 3] beside their maps for pages, unless they are too many."""
    if images.nbytes <= _MOST_BYTES:
        np.save(folder / PROBES, images, allow_pickle=False)


def write_results(folder: Path, result: Affinity) -> None:
    """Write `score.json`, `rankings.csv`, the matrix of each score, and a picture of the first for two models or more.

    Affinities of maps are `affinity.npy` and `affinity.csv`, and each of `result.scores` is `score-NAME.npy` and `score-NAME.csv`;
    the picture is named as its matrix.
    """
    stem = "affinity" if result.by == "attribution" else f"score-{_file_part(result.by)}"
    matrices = {stem: result.by} | {f"score-{_file_part(name)}": name for name in result.scores}
    for file, name in matrices.items():
        matrix = result.matrix if name == result.by else result.scores[name]
        np.save(folder / f"{file}.npy", matrix, allow_pickle=False)
        (folder / f"{file}.csv").write_text(result.to_csv(name), "utf-8", "backslashreplace")
    (folder / "rankings.csv").write_text(result.rankings_csv(), "utf-8", "backslashreplace")
    (folder / SUMMARY).write_text(json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
    if len(result.models) > 1 and not np.isnan(result.matrix).any():
        from onnxspace.report.heatmap import draw_affinity

        draw_affinity(result, folder / f"{stem}.png")


def _file_part(name: str) -> str:
    """A score's name, which any package may choose, as part of a file name."""
    return re.sub(r"[^\w.-]", "_", name)
