"""The pixels of a model taken over from another export of its network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from onnxspace.inputs.pixel_presets import Origin, in_order
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.similarity.one_network import MOST_NAME, Subject
from onnxspace.storage.printable import shorten
from onnxspace.workflows.requests import LocatedModel


def take_over(located: LocatedModel, own: PixelRecord, donor: Subject) -> LocatedModel:
    """The model `located`, whose pixels are `own`, with those of `donor` as its options; what it states itself counts more."""
    given, options = donor.pixels, {key: value for key, value in located.options.items() if key != "pixels"}
    knows_color = "color" in own.guessed and "color" not in given.guessed
    color = given.color if knows_color else own.color
    if knows_color:
        options["color"] = color
    if "size" in own.guessed and "size" not in given.guessed:
        options["size"] = given.size
    mean, std = (in_order(values, given.color, color) for values in (given.mean, given.std))
    source = f"as {shorten(donor.name, MOST_NAME)}, whose first layers have the same weights and whose range is {given.origin}"
    taken: dict[str, Any] = {"scale": given.scale, "mean": mean, "std": std, "origin": _name_origin(given), "source": source}
    return replace(located, options=options | taken)


def _name_origin(given: PixelRecord) -> Origin:
    return "guessed" if given.origin == "guessed" else "inferred"
