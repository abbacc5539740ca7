"""What is printed of the layers of two networks: the best partner of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import one_line, wrap
from onnxspace.storage.short_text import describe_images

if TYPE_CHECKING:
    from onnxspace.scores.layer_matrix import LayerMatrix


#: Text has no rows and columns.
_WORDS = {"predictivity": ("predictivity", "R² of the right layer, predicted linearly from the left one")}


def list_partners(found: LayerMatrix) -> Iterator[str]:
    """Lines of a table for each score: every layer of the source, its best partner, and whether that is the best of the partner too."""
    from onnxspace.report.layer_names import shorten_layers
    from onnxspace.scores.layer_matrix import LAYER_SCORES

    images = describe_images(found.probe)
    yield from wrap(one_line(f"Layers of {found.source.name} beside those of {found.target.name}, on {images}"))
    own, others = (shorten_layers([layer.tensor for layer in layers]) for layers in (found.source_layers, found.target_layers))
    room = max(map(len, own))
    for score in found.scores:
        yield ""
        yield from wrap(": ".join(_WORDS.get(score, LAYER_SCORES[score])))
        partners, back = found.find_partners(score)
        for row, place in enumerate(partners):
            if place is None:
                yield f"  {own[row]:<{room}}     n/a"
                continue
            arrow = "↔" if back[place] == row else "→"
            yield f"  {own[row]:<{room}}  {found.scores[score][row, place]:6.3f} {arrow} {others[place]}"
    yield ""
    yield from wrap("↔: each is the best partner of the other.")


def list_notes(found: LayerMatrix) -> Iterator[str]:
    """What was assumed of both models, except of their encoders, and warnings."""
    from onnxspace.cli.text.pixels import assumptions

    models = [
        replace(model, assumed=tuple(words for words in model.assumed if not words.startswith("encoder ")))
        for model in (found.source, found.target)
    ]
    yield from assumptions(models)
    yield from (f"warning: {warning}" for warning in found.warnings)
