"""What sessions and notebooks show of affinities, rankings and their certainty: a few lines of text, or a table in HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnxspace.similarity.html import render_cell, render_notes, render_table
from onnxspace.storage.printable import shorten
from onnxspace.storage.short_text import MOST_LINES, MOST_NAMES, align, format_value, join_lines, list_names, wrap_notes

Sources = Sequence[tuple[str, float]]
_ROOM = 40


def list_rankings(names: Sequence[str], rankings: Sequence[Sources], words: str) -> Iterator[str]:
    """A line for each of the first `rankings`, which are those of the first `names`: the target and its best sources."""
    shown = [shorten(name, _ROOM) for name in names[: len(rankings)]]
    room = max(map(len, shown), default=0)
    for name, sources in zip(shown, rankings, strict=True):
        best = ", ".join(f"{shorten(source, _ROOM)} {format_value(value)}" for source, value in sources[:MOST_NAMES])
        yield f"{name:<{room}}  {words}: {best or 'none has a value'}"
    if len(names) > len(rankings):
        yield f"and {len(names) - len(rankings):,} more"


def describe_ranking(title: str, evidence: str, sources: Sources, unranked: Sequence[str], notes: Sequence[str]) -> str:
    """What the list is, its evidence, the first `sources`, the models that are `unranked`, and notes."""
    best = align([[source, format_value(value)] for source, value in sources[:MOST_LINES]], len(sources))
    lost = [f"{len(unranked):,} without a value: {list_names(unranked)}"] if unranked else []
    return join_lines(title, [f"Evidence: {evidence}"], best, lost, wrap_notes(notes))


def render_ranking(
    title: str, by: str, sources: Sources, places: Sequence[int], unranked: Sequence[str], notes: Sequence[str]
) -> str:
    """The `sources` with their `places` as a table of coloured cells, then the models that are `unranked`, and notes below."""
    rows = [(str(place), source, render_cell(value)) for place, (source, value) in zip(places, sources, strict=True)]
    rows += [("–", source, render_cell(None)) for source in unranked]
    return render_table(title, ("", "source", by), rows) + render_notes(*notes)
