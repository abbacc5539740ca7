"""What `onnxspace score --dry-run` prints: a row per model, and what all take together."""

from __future__ import annotations

from collections.abc import Iterator

from onnxspace.cli.text.lines import one_line, wrap
from onnxspace.storage.short_text import count
from onnxspace.workflows.score_estimate import ScoreEstimate


def estimate_lines(found: ScoreEstimate) -> Iterator[str]:
    """Lines of an estimate; one that says so where too few models are left to compare."""
    if not found.models:
        yield from wrap("Fewer than two models are left, so there is nothing to compare and nothing to estimate.")
        return
    width = max([len(one_line(one.name)) for one in found.models] + [5])
    yield f"{'model':<{width}}  {'time':>8}  {'memory':>8}  {'disk':>8}"
    for one in found.models:
        row = f"{format_seconds(one.seconds):>8}  {format_bytes(one.memory):>8}  {format_bytes(one.disk):>8}"
        yield f"{one_line(one.name):<{width}}  {row}"
    yield f"opening the models {format_seconds(found.opening)}, comparing them {format_seconds(found.comparing)}"
    total = f"about {format_seconds(found.seconds)}, {format_bytes(found.memory)} of memory, {format_bytes(found.disk)} of disk"
    models = count(len(found.models), "model")
    yield from wrap(f"all: {models}, {_describe_images(found)}: {total}")
    kept = "temporary files" if found.kept is None else f"maps and results stay in {one_line(found.kept)}"
    counts = " and ".join(map(str, dict.fromkeys(found.sample)))
    yield from wrap(f"{kept}; estimated from {counts} of the images, in {format_seconds(found.measured)}")


def _describe_images(found: ScoreEstimate) -> str:
    maps, pictures = found.probe["images"], found.pictures
    return count(maps, "image") if pictures is None else f"{count(pictures['images'], 'image')}, {maps} of them with maps"


def format_seconds(seconds: float) -> str:
    """A length of time in two digits or so.

    >>> format_seconds(5400)
    '1.5 h'
    """
    for limit, size, word in ((99.5, 1, "s"), (5940, 60, "min")):
        if seconds < limit:
            return f"{seconds / size:.1f} {word}"
    return f"{seconds / 3600:.1f} h"


def format_bytes(size: int) -> str:
    """A size of memory or files.

    >>> format_bytes(3 * 2**30)
    '3.0 GiB'
    """
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
