"""The text that `onnxspace diff --precision` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxspace.cli.text.lines import one_line, wrap
from onnxspace.storage.short_text import list_names

if TYPE_CHECKING:
    from onnxspace.differences.precision import PrecisionLayer, PrecisionSweep

_NAME, _ROOM = 44, 100


def precision_lines(found: PrecisionSweep, top: int) -> Iterator[str]:
    """The advice, and the `top` costliest layers."""
    yield from wrap(one_line(found.summary))
    if found.other is not None:
        yield from wrap(one_line(_describe_other(found)))
    if top:
        yield ""
        yield f"  {'alone':>9} {'stay':<5} {'operator':<13} layer"
        yield from (_layer_line(layer) for layer in found.ranked[:top])
        if len(found.layers) > top:
            yield f"  {len(found.layers) - top} more; --top N prints more of them, --csv FILE writes all."


def _describe_other(found: PrecisionSweep) -> str:
    """Which layers to keep the other file has in float already, and which it has not."""
    rounded = [layer.name for layer in found.ranked if layer.keep and layer.stored not in (None, "float32")]
    if not rounded:
        return f"{found.other} stores none of these in lower precision."
    return f"{found.other} stores {len(rounded)} of these in lower precision: {list_names(rounded, room=_ROOM)}."


def _layer_line(layer: PrecisionLayer) -> str:
    error = "infinite" if layer.alone is None else f"{100 * layer.alone:.2g} %"
    name = one_line(layer.name)
    name = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
    return f"  {error:>9} {'float' if layer.keep else '':<5} {one_line(layer.op)[:13]:<13} {name}"
