"""The table of models and their pixels that is printed before the work, and the warning on what was guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from onnxspace.storage.printable import make_printable, shorten

if TYPE_CHECKING:
    from onnxspace.inputs.pixel_record import PixelRecord
    from onnxspace.model.records import Description
    from onnxspace.similarity.records import ModelRecord

#: Characters of a line, those of the names of models, and how many models a warning names.
WIDTH, _NAME, _MOST_NAMED = 80, 24, 8
_HEADINGS = ("model", "size", "order", "colour", "range", "from where")


def table(models: Sequence[ModelRecord]) -> Iterator[str]:
    """A row per model with its size, order of axes, colours, range, and where the range comes from; equal rows are one.

    A question mark is behind what is guessed. Models without such facts, which are fingerprints, have no row.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        if model.pixels is not None:
            groups.setdefault(_cells(model.pixels), []).append(model.name)
    rows = [(_describe_names(names), *cells) for cells, names in groups.items()]
    if rows:
        yield from _align([_HEADINGS, *rows])


def _cells(pixels: PixelRecord) -> tuple[str, ...]:
    origin = pixels.origin if pixels.origin == "guessed" else f"{pixels.origin}: {make_printable(pixels.reason)}"
    return *pixels.cells(), origin


def _describe_names(names: Sequence[str]) -> str:
    listed = ", ".join(map(make_printable, names))
    return shorten(listed, _NAME) if len(names) == 1 or len(listed) <= _NAME else f"{len(names)} models"


def _align(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Columns as wide as their cells; the last one takes what is left of the line, and continues on the next."""
    wide = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    indent = sum(wide) + 2 * len(wide)
    for *cells, last in rows:
        begun = "  ".join(f"{cell:<{room}}" for cell, room in zip(cells, wide, strict=True))
        for number, part in enumerate(_split(last, max(WIDTH - indent, 12))):
            yield (begun if number == 0 else " " * (indent - 2)) + f"  {part}"


def _split(text: str, room: int) -> list[str]:
    """The words of a text in lines of at most `room` characters; a longer word is cut."""
    lines = [""]
    for word in text.split():
        for part in (word[i : i + room] for i in range(0, len(word), room)):
            if lines[-1] and len(lines[-1]) + 1 + len(part) > room:
                lines.append("")
            lines[-1] += f" {part}" if lines[-1] else part
    return lines


def warning(models: Sequence[ModelRecord]) -> Iterator[str]:
    """A sentence that names the models whose range is guessed, and the option that states it."""
    guessed = [model.name for model in models if model.pixels is not None and model.pixels.origin == "guessed"]
    if guessed:
        more = f" and {len(guessed) - _MOST_NAMED} others" if len(guessed) > _MOST_NAMED else ""
        named = ", ".join(make_printable(name) for name in guessed[:_MOST_NAMED]) + more
        yield (
            f"warning: the range of pixels is guessed for {named}; other ranges are as plausible, and maps depend on it. "
            "State it by --pixels [MODEL=]PRESET, such as unit, imagenet or byte."
        )


def other_assumptions(model: ModelRecord | Description) -> tuple[str, ...]:
    """What is assumed of a model besides what the table shows."""
    if model.pixels is None:
        return model.assumed
    listed = set(model.pixels.assumptions())
    return tuple(one for one in model.assumed if one not in listed and not one.startswith("layout "))


def assumptions(models: Sequence[ModelRecord]) -> Iterator[str]:
    """What is assumed of each model besides what the table shows, a line each."""
    for model in models:
        if found := other_assumptions(model):
            yield f"assumed for {make_printable(model.name)}: {make_printable('; '.join(found))}"


def describe_pixels(pixels: PixelRecord) -> Iterator[str]:
    """The pixels of one model in lines, for a description."""
    yield ", ".join(pixels.cells())
    mean, std = (", ".join(f"{one:.6g}" for one in numbers) for numbers in (pixels.mean, pixels.std))
    yield f"x = (pixel · {pixels.scale:.6g} − [{mean}]) / [{std}]"
    yield f"{pixels.origin} ({make_printable(pixels.reason)})"
