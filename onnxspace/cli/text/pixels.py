"""The table of models and their pixels that is printed before the work, and the warning on what was guessed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import terminal_width, wrap
from onnxspace.inputs.pixel_record import KEPT_SIZE
from onnxspace.storage.printable import make_printable, shorten

if TYPE_CHECKING:
    from onnxspace.inputs.pixel_record import PixelRecord
    from onnxspace.model.records import Description
    from onnxspace.similarity.records import ModelRecord

#: Characters of the names of models, and how many models a warning names.
_NAME, _MOST_NAMED = 24, 8
_INDENT = "    "
_HEADINGS = ("model", "size", "order", "colour", "range", "from where")


def table(models: Sequence[ModelRecord]) -> Iterator[str]:
    """A row per model with its size, order of axes, colours, range, and where the range comes from; equal rows are one.

    A question mark is behind what is guessed. Models without such facts, which are fingerprints, have no row. Files beside models
    are alike where they are named after the models; of several, NAME stands for the name.
    """
    groups: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {}
    for model in models:
        if model.pixels is not None:
            cells = _cells(model.pixels)
            groups.setdefault((*cells[:-1], _leave_out_name(cells[-1], model)), {})[model.name] = cells
    rows = [(_describe_names([*own]), *(cells if len(own) > 1 else next(iter(own.values())))) for cells, own in groups.items()]
    if rows:
        yield from _align([(*_HEADINGS, ""), *rows])


def _cells(pixels: PixelRecord) -> tuple[str, ...]:
    reason = "" if pixels.origin == "guessed" else make_printable(pixels.reason)
    return *pixels.cells(), pixels.origin, reason


def _leave_out_name(reason: str, model: ModelRecord) -> str:
    """The reason, with NAME for the model's where it begins with a file beside the model, such as its sidecar."""
    stem = f"{make_printable(Path(model.path).stem)}."
    return f"NAME.{reason.removeprefix(stem)}" if reason.startswith(stem) else reason


def _describe_names(names: Sequence[str]) -> str:
    listed = ", ".join(map(make_printable, names))
    return shorten(listed, _NAME) if len(names) == 1 or len(listed) <= _NAME else f"{len(names)} models"


def _align(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as their cells; a reason that does not fit behind them is on lines of its own."""
    wide = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    for *cells, origin, reason in rows:
        line = "  ".join((*(f"{cell:<{room}}" for cell, room in zip(cells, wide, strict=True)), origin))
        if not reason:
            yield line
        elif len(line) + len(reason) + 2 <= (terminal_width(err=True) or sys.maxsize):
            yield f"{line}: {reason}"
        else:
            yield from (line, *wrap(reason, _INDENT, _INDENT, err=True))


def warning(models: Sequence[ModelRecord]) -> Iterator[str]:
    """A sentence that names the models whose range is guessed, and the option that states it."""
    guessed = [model.name for model in models if model.pixels is not None and model.pixels.origin == "guessed"]
    if guessed:
        yield (
            f"warning: the range of pixels is guessed for {_list_names(guessed)}; other ranges are as plausible, and maps depend on it. "
            "State it by --pixels [MODEL=]PRESET, such as unit, imagenet or byte."
        )


def keepers_of_size(models: Sequence[ModelRecord]) -> Iterator[str]:
    """A sentence that names the models which keep their own size, because it is fixed, where --size states another for all."""
    kept = [model.name for model in models if any(one.startswith(KEPT_SIZE) for one in model.assumed)]
    if kept:
        verb = "keeps its" if len(kept) == 1 else "keep their"
        yield f"{_list_names(kept)} {verb} own size, which is fixed; --size is for networks whose size is open."


def _list_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} others" if len(names) > _MOST_NAMED else ""
    return ", ".join(map(make_printable, names[:_MOST_NAMED])) + more


def other_assumptions(model: ModelRecord | Description) -> tuple[str, ...]:
    """What is assumed of a model besides what the table shows."""
    if model.pixels is None:
        return model.assumed
    listed = set(model.pixels.assumptions())
    return tuple(one for one in model.assumed if one not in listed and not one.startswith(("layout ", KEPT_SIZE)))


def assumptions(models: Sequence[ModelRecord]) -> Iterator[str]:
    """What is assumed of models besides what the table shows, a line for all of which the same is."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        groups.setdefault(other_assumptions(model), []).append(model.name)
    for found, names in groups.items():
        if found:
            yield f"assumed for {_list_names(names)}: {make_printable('; '.join(found))}"


def describe_pixels(pixels: PixelRecord) -> Iterator[str]:
    """The pixels of one model in lines, for a description."""
    yield ", ".join(pixels.cells())
    mean, std = (", ".join(f"{one + 0.0:.6g}" for one in numbers) for numbers in (pixels.mean, pixels.std))  # no −0
    yield f"x = (pixel · {pixels.scale:.6g} − [{mean}]) / [{std}]"
    yield f"{pixels.origin} ({make_printable(pixels.reason)})"
    if pixels.geometry:
        yield (
            f"not applied: {make_printable(pixels.geometry)}, which its configuration states; the largest square of a photo is "
            "resized (bilinear) for all models, so that their maps are of the same pixels"
        )
