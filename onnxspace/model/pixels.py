"""The choice of a model's pixels among what the user states, what is written, what the graph computes, and what weights tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_presets import DEFAULT_PRESET, find_preset, in_order
from onnxspace.model.image_input import WHOLE, ImageInput
from onnxspace.model.pixel_range import EIGHT_BIT, GraphRange
from onnxspace.storage.short_text import count


@dataclass(frozen=True)
class PixelSources:
    """Where the pixels of a model may come from, besides the user.

    `written` are options that metadata states, the first of which counts; `graph` is the range that the graph's own arithmetic
    tells. `weights` is the preset that evidence in the weights tells, with its reason as `source` and the origin `inferred` where
    it stands out, else `guessed`; None where there is no evidence.
    """

    written: tuple[ModelOptions, ...] = ()
    graph: GraphRange | None = None
    weights: ModelOptions | None = None


def choose_pixels(path: str, image: ImageInput, stated: ModelOptions, sources: PixelSources) -> ModelOptions:
    """The user's options, completed by what else is known, in this order: stated, written, the graph, its weights, a guess.

    In the result `scale`, `mean` and `std` are in the order of `color`, which stays None where nothing tells it, as does `size`.
    `origin` and `source` say where the range comes from. `path` is the file's name for messages. Raises ConfigError for a preset
    with values of three channels for a network of another number.
    """
    _check_preset(path, image, stated)
    chosen = _resolve_preset(stated, image)
    if chosen.states_range:
        chosen = replace(chosen, origin=chosen.origin or "stated", source=chosen.source or "the options given")
    for lower in _list_lower(image, sources):
        chosen = _complete(chosen, lower)
    return chosen


def _check_preset(path: str, image: ImageInput, stated: ModelOptions) -> None:
    if stated.pixels is not None and len(find_preset(stated.pixels).mean) not in (1, image.channels):
        raise ConfigError(
            f"{path} takes images of {count(image.channels, 'channel')}, but {stated.pixels} has a mean for each of three. Name another "
            "preset as `pixels`, or state scale, mean and std."
        )


def _resolve_preset(options: ModelOptions, image: ImageInput) -> ModelOptions:
    """The options with the values of their preset, in the order of their colours; a grey network has no order."""
    if options.pixels is None:
        return options
    preset = find_preset(options.pixels)
    color = options.color or (preset.color if image.channels == 3 else None)
    mean, std = (in_order(values, preset.color, color) for values in (preset.mean, preset.std))
    return replace(options, pixels=None, scale=preset.scale, mean=mean, std=std, color=color)


def _list_lower(image: ImageInput, sources: PixelSources) -> Iterator[ModelOptions]:
    """What is known besides the user's options, first what counts most: no metadata puts other values into an 8-bit tensor."""
    graph = [] if sources.graph is None else [_options_of(sources.graph)]
    graph, written = (
        [one if image.channels == 3 else replace(one, color=None) for one in found] for found in (graph, sources.written)
    )
    yield from (*graph, *written) if image.elem_type in EIGHT_BIT else (*written, *graph)
    weights = sources.weights
    if weights is not None and len(find_preset(weights.pixels or DEFAULT_PRESET).mean) in (1, image.channels):
        yield _resolve_preset(weights, image)
    if image.elem_type in WHOLE:
        yield _resolve_preset(ModelOptions(pixels="byte", origin="guessed", source="the input takes integers"), image)
    yield _resolve_preset(ModelOptions(pixels=DEFAULT_PRESET, origin="guessed", source="nothing states it"), image)


def _options_of(graph: GraphRange) -> ModelOptions:
    return ModelOptions(
        scale=(graph.high - graph.low) / 255,
        mean=(-graph.low,),
        std=(1.0,),
        color=graph.color,
        origin="read",
        source=graph.reason,
    )


def _complete(options: ModelOptions, lower: ModelOptions) -> ModelOptions:
    """Fill in from `lower` size and colour where `options` have none, and the range as a whole where they state none of it."""
    filled = replace(
        options,
        size=options.size or lower.size,
        color=options.color or lower.color,
        geometry=options.geometry or lower.geometry,
    )
    if options.states_range or not lower.states_range:
        return filled
    mean, std = (in_order(values or (), lower.color, filled.color) for values in (lower.mean, lower.std))
    return replace(filled, scale=lower.scale, mean=mean, std=std, origin=lower.origin, source=lower.source)


def list_guessed(
    image: ImageInput, chosen: ModelOptions, known: Iterable[ModelOptions], *, assumes_bands: bool = False
) -> tuple[str, ...]:
    """The parts of `chosen` that neither the file nor any of `known` options states: `size`, `color`, `range`.

    `assumes_bands` says that the bands in its channels are assumed.
    """
    options = list(known)
    size = None in (image.height, image.width) and not any(one.size for one in options)
    colors = (one.color or (one.pixels and find_preset(one.pixels).color) for one in options)
    color = assumes_bands or (image.channels == 3 and not any(one.bands for one in options) and not any(colors))
    parts = {"size": size, "color": color, "range": chosen.origin == "guessed"}
    return tuple(name for name, guessed in parts.items() if guessed)
