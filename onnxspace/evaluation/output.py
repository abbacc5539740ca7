"""Output of `evaluate --output`: one plot, or a folder with all plots and numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from onnxspace.errors import OutputError
from onnxspace.evaluation.result import SCHEMA, Evaluation
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.regular_files import read_regular

PICTURES = (".png", ".svg")
SUMMARY = "evaluate.json"
_CONTENT = {SUMMARY, "measures.csv", *(f"{name}{suffix}" for name in ("curves", "priority", "trees") for suffix in PICTURES)}


def refuse_unfit(target: Path, inputs: Sequence[Path]) -> None:
    """Check, before any work is done, that `target` can be written.

    Raises OutputError where it is one of the `inputs`, or already exists and is not a result of `onnxspace evaluate`.
    """
    try:
        if target.exists() and any(path.exists() and path.samefile(target) for path in inputs):
            raise OutputError(f"{target} is one of the tables. Name another --output.")
        taken = target.is_dir() if _is_picture(target) else os.path.lexists(target) and not _is_replaceable(target)
    except (OSError, ValueError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{target} can't be used as --output ({error}). Name another --output.") from error
    if taken:
        raise OutputError(
            f"{target} already exists and is not, or contains more than, a result of onnxspace evaluate. "
            "Name a new folder, or a file that ends in .png or .svg, as --output."
        )


def _is_picture(target: Path) -> bool:
    return target.suffix.lower() in PICTURES


def _is_replaceable(target: Path) -> bool:
    if not target.is_dir() or os.path.ismount(target):
        return False
    names = {file.name for file in target.iterdir()}
    if not names:
        return True
    try:
        return names <= _CONTENT and json.loads(read_regular(target / SUMMARY))["schema"] == SCHEMA
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def write_evaluation(found: Evaluation, target: Path) -> None:
    """Write the curves to `target` if it ends in .png or .svg; else write a folder, atomically, replacing an earlier result.

    The folder holds `evaluate.json`, `measures.csv`, and as .png and .svg `curves`, `priority`, and, where a ranking has a
    similarity tree, `trees`. Raises OutputError where something else has that name, or writing fails.
    """
    from onnxspace.evaluation.curves import draw_curves

    if _is_picture(target):
        with whole_file(target) as partial:
            draw_curves(found, partial, target.suffix.lower()[1:])
        return
    refuse_unfit(target, [])
    try:
        _write_folder(found, Path(os.path.realpath(target)))
    except OSError as error:
        why = error.strerror or error
        raise OutputError(
            error.errno, f"{target} can't be written ({why}). Free some space, or name another --output."
        ) from error


def _write_folder(found: Evaluation, target: Path) -> None:
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}.partial")
    old = partial.with_name(f"{partial.name[:-8]}.old.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.mkdir()
        _write_files(found, partial)
        if target.exists():
            target.rename(old)
        try:
            partial.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
    finally:
        for folder in (partial, old):
            with suppress(OSError):
                shutil.rmtree(folder)


def _write_files(found: Evaluation, folder: Path) -> None:
    from onnxspace.evaluation.curves import draw_curves, draw_priorities, draw_trees

    (folder / SUMMARY).write_text(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n", "utf-8")
    (folder / "measures.csv").write_text(found.to_csv(), "utf-8", "backslashreplace")
    for kind in PICTURES:
        draw_curves(found, folder / f"curves{kind}", kind[1:])
        draw_priorities(found, folder / f"priority{kind}", kind[1:])
        if found.trees:
            draw_trees(found, folder / f"trees{kind}", kind[1:])
