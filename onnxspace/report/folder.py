"""The result folder of a comparison: whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from onnxspace.affinity import SCHEMA, Affinity
from onnxspace.errors import OutputError

SUMMARY = "score.json"


@contextmanager
def result_folder(target: Path) -> Iterator[Path]:
    """A fresh folder that takes the name `target` when the block ends well, and vanishes otherwise.

    An earlier result of the same kind is replaced; anything else that lies there is refused before any work is done.
    """
    refuse_strangers(target)
    place = Path(os.path.realpath(target))
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        yield partial
        _swap(partial, place)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(error.errno, _sentence(target, error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sentence(target: Path, error: OSError) -> str:
    return f"{target} can't be written ({error.strerror or error}). Free some space, or name another --output."


def refuse_strangers(target: Path) -> None:
    """Raise OutputError where `target` holds anything but an earlier result or nothing."""
    try:
        if target.is_dir() and (_is_result(target) or not any(target.iterdir())):
            return
        taken = target.exists() or target.is_symlink()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OutputError(f"{target} can't be used as --output ({reason}). Name another --output.") from error
    if taken:
        raise OutputError(
            f"{target} exists and is not a result of onnxspace score, so it is left alone. Name another --output, or remove it."
        )


def _is_result(target: Path) -> bool:
    try:
        return str(json.loads((target / SUMMARY).read_text("utf-8"))["schema"]) == SCHEMA
    except (OSError, ValueError, KeyError, TypeError):
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
