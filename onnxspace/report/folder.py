"""The result folder of a comparison: whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from onnxspace.affinity import SCHEMA, Affinity
from onnxspace.errors import OutputError

SUMMARY = "score.json"
_CONTENT = {SUMMARY, "affinity.npy", "affinity.csv", "rankings.csv", "affinity.png", "maps"}


@contextmanager
def result_folder(target: Path) -> Iterator[Path]:
    """A fresh folder that takes the name `target` when the block ends well with results in it, and vanishes otherwise.

    An earlier result of the same kind is replaced; anything else that lies there is refused before any work is done.
    """
    refuse_strangers(target)
    place = Path(os.path.realpath(target))
    missing = [folder for folder in place.parents if not folder.exists()]
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        if (partial / SUMMARY).exists():
            _swap(partial, place)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(error.errno, _sentence(target, error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):  # those that hold a result stay
            for folder in missing:
                folder.rmdir()


def _sentence(target: Path, error: OSError) -> str:
    return f"{target} can't be written ({error.strerror or error}). Free some space, or name another --output."


def refuse_strangers(target: Path) -> None:
    """Raise OutputError where `target` holds anything but an earlier result or nothing."""
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
            f"{target} is there already and is, or holds, something else than a result of onnxspace score. "
            "Name another --output, or remove it."
        )


def _is_result(target: Path) -> bool:
    try:
        written = str(json.loads((target / SUMMARY).read_text("utf-8"))["schema"]) == SCHEMA
        return written and _CONTENT.issuperset(file.name for file in target.iterdir())
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _swap(partial: Path, target: Path) -> None:
    """Put the new folder in place of the old one; the old one is back if that fails."""
    old = partial.with_name(f"{partial.name}.old")
    if target.exists():
        target.rename(old)
    try:
        partial.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_results(folder: Path, result: Affinity) -> None:
    """`affinity.npy`, `affinity.csv`, `rankings.csv`, `score.json`, and `affinity.png` where there are two models."""
    np.save(folder / "affinity.npy", result.matrix, allow_pickle=False)
    (folder / "affinity.csv").write_text(result.to_csv(), "utf-8", "backslashreplace")
    (folder / "rankings.csv").write_text(result.rankings_csv(), "utf-8", "backslashreplace")
    (folder / SUMMARY).write_text(json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
    if len(result.models) > 1:
        from onnxspace.report.picture import draw_affinity

        draw_affinity(result, folder / "affinity.png")
