"""What sessions and notebooks show of ratings, fine-tuned models and layers, from the objects that `--json` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxspace.similarity.html import Cell, render_cell, render_notes, render_table
from onnxspace.storage.printable import make_printable
from onnxspace.storage.short_text import (
    MOST_LINES,
    align,
    count,
    count_losses,
    describe_images,
    format_value,
    join_lines,
    wrap_notes,
)

Found = Mapping[str, Any]


def describe_ratings(found: Found) -> str:
    """Number of models, images and scores, what ranks, and the first models."""
    rows = [[one["source"], format_value(one["value"])] for one in found["ranking"]]
    models = count(len(found["models"]), "model")
    heading = f"Ratings of {models} on {_describe_images(found)}: {', '.join(found['scores']) or 'no scores'}"
    basis = [f"Evidence: {found['evidence']}, by {make_printable(found['by'])}"]
    return join_lines(heading, basis, align(rows[:MOST_LINES], len(rows)), _count_losses(found))


def _describe_images(found: Found) -> str:
    return describe_images(found["data"])


def _count_losses(found: Found) -> Iterator[str]:
    return count_losses([one["path"] for one in found["failed"]], found["warnings"])


def render_ratings(found: Found) -> str:
    """A row per model, best first, with all its scores."""
    scores = {**found["scores"], **({"known": found["known"]} if "known" in found else {})}
    values = {model["name"]: [column[i] for column in scores.values()] for i, model in enumerate(found["models"])}
    rows = [(str(one["place"]), one["source"], *_numbers(one["value"], *values.pop(one["source"]))) for one in found["ranking"]]
    rows += [("–", name, *_numbers(None, *rest)) for name, rest in values.items()]
    table = render_table(f"Ratings on {_describe_images(found)}, best first", ("", "model", found["by"], *scores), rows)
    return table + _render_losses(found, f"Evidence: {found['evidence']}. {found['reliability']}")


def _numbers(*values: float | None) -> Sequence[Cell]:
    return [Cell(f"<td>{format_value(value)}</td>") for value in values]


def _render_losses(found: Found, *notes: str) -> str:
    failed = (f"{one['path']}: {one['error']}" for one in found.get("failed", ()))
    return render_notes(*notes, *failed, *found["warnings"])


def describe_layers(found: Found, advice: str) -> str:
    """Source, target, the layers with the largest scores, and the advice."""
    best = sorted((one for one in found["layers"] if one["score"] is not None), key=lambda one: -one["score"])
    rows = [[one["tensor"], format_value(one["score"])] for one in best[:MOST_LINES]]
    layers, images = count(len(found["layers"]), "layer"), describe_images(found["probe"])
    heading = f"{layers} of {found['source']['name']} for {found['target']['name']}: {found['method']} on {images}"
    return join_lines(heading, align(rows, len(found["layers"])), wrap_notes([advice]), count_losses([], found["warnings"]))


def render_layers(found: Found, advice: str) -> str:
    """A row per layer, from image to output; the best has an arrow."""
    rows = [("→" if one["tensor"] == found["best"] else "", *_layer_cells(one)) for one in found["layers"]]
    heading = ("", "layer", "trained layers below", "work below", "S_V", "S_E", "score")
    table = render_table(f"Layers of {found['source']['name']} for {found['target']['name']}", heading, rows)
    return table + _render_losses(found, advice)


def _layer_cells(layer: Found) -> Sequence[str]:
    below = (str(layer["trained_below"]), f"{layer['share_below']:.1%}")
    return (layer["tensor"], *below, *_numbers(layer["nodes"], layer["edges"]), render_cell(layer["score"], limit=2.0))


def describe_finetuned(found: Found) -> str:
    """Number of models and images, and the first models with their results."""
    rows = [[one["source"], format_value(one["result"]), _format_interval(one)] for one in found["ranking"]]
    models = count(len(rows), "model")
    heading = f"{models} fine-tuned on {_describe_images(found)}; a constant answer has {format_value(found['constant'])}"
    best = align(rows[:MOST_LINES], len(rows))
    return join_lines(heading, [f"Evidence: {found['evidence']}"], best, _count_losses(found))


def _format_interval(one: Found) -> str:
    return f"[{format_value(one['low'])}, {format_value(one['high'])}]"


def render_finetuned(found: Found) -> str:
    """A row per model, best first, with the 95 % interval of its result."""
    rows = [
        (
            str(one["place"]),
            one["source"],
            *_numbers(one["result"]),
            _format_interval(one),
            *_numbers(one["loss"]),
            str(one["epochs"]),
        )
        for one in found["ranking"]
    ]
    table = render_table(
        f"Fine-tuned on {_describe_images(found)}, best first", ("", "model", "result", "95 % interval", "loss", "epochs"), rows
    )
    constant = f"A constant answer has {format_value(found['constant'])}."
    return table + _render_losses(found, constant, f"Evidence: {found['evidence']}. {found['reliability']}")
