"""Which models of a comparison hold one network: what is known of the pixels of one export holds for the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from onnxspace.inputs.pixel_presets import DEFAULT_PRESET, Origin
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.inputs.weight_sketch import WeightSketch, are_one_network
from onnxspace.storage.printable import shorten

#: Origins of a range, the one that counts most first.
_ORDER: tuple[Origin, ...] = ("stated", "read", "inferred", "guessed")
_MOST_NAMED = 8
#: The most characters of a name in a sentence.
MOST_NAME = 60
_ADVICE = "maps depend on it. State them by --pixels [MODEL=]PRESET."


@dataclass(frozen=True)
class Subject:
    """What is compared of a model: its name, its pixels, and a sketch of its weights."""

    name: str
    pixels: PixelRecord
    weights: WeightSketch

    @property
    def rank(self) -> int:
        """How much the origin of its range counts, 0 most."""
        return _ORDER.index(self.pixels.origin)

    @cached_property
    def first_layer(self) -> str:
        """What is equal for files of one network: the arithmetic in front of the first layer, and the layer's shape."""
        first = self.weights.layers[:1]
        return repr((self.weights.front, *((one.channels, one.length) for one in first)))


def find_donors(models: Sequence[Subject]) -> dict[int, Subject]:
    """The model whose pixels each of `models` takes over, by position; models that keep their own are left out.

    A model whose range is inferred or guessed takes over that of another export of its network where its origin counts more. Nothing
    is taken over where the best of these exports contradict each other. Exports that are all guessed get one guess: where they
    differ, the one that is not the usual range.
    """
    found = {}
    for index, model in enumerate(models):
        if (donor := _find_donor(model, models)) is not None:
            found[index] = donor
    return found


def _find_donor(model: Subject, models: Sequence[Subject]) -> Subject | None:
    if model.rank < _ORDER.index("inferred"):
        return None
    exports = [one for one in models if one.first_layer == model.first_layer and _may_share(model, one)]
    exports = [one for one in exports if are_one_network(model.weights, one.weights)]
    better = [one for one in exports if one.rank < model.rank]
    best = [one for one in better if one.rank == min(each.rank for each in better)]
    if not better and model.pixels.origin == "guessed":
        return _choose_guess(model, exports)
    if not best or not all(one.pixels.has_range_of(best[0].pixels) for one in best):
        return None
    return None if model.pixels.origin == "inferred" and model.pixels.has_range_of(best[0].pixels) else best[0]


def _choose_guess(model: Subject, exports: Sequence[Subject]) -> Subject | None:
    """The export whose guess all of them take over; None where it is the model's own. It does not depend on their order."""
    chosen = min(exports, key=lambda one: (one.pixels.preset == DEFAULT_PRESET, one.pixels.range, one.name), default=model)
    return None if chosen.pixels.has_range_of(model.pixels) else chosen


def _may_share(a: Subject, b: Subject) -> bool:
    """Whether both take as many channels, as far as their ranges tell."""
    counts = {max(len(one.pixels.mean), len(one.pixels.std)) for one in (a, b)} - {1}
    return len(counts) < 2 and (a.pixels.color == "GREY") == (b.pixels.color == "GREY")


def list_disagreements(models: Sequence[Subject], others: Sequence[Subject] = ()) -> Iterator[str]:
    """Sentences on models that are, or may be, one network and whose ranges differ although not all of them are stated.

    `models` are compared with each other and with `others`, such as the models of a space; these are not compared among themselves.
    """
    for group in _group([*models, *others]):
        different = list(_list_different(sorted(group, key=lambda one: (_is_among(one, others), -one.rank))))
        if any(_is_among(one, models) for one in different):
            words = " and ".join(_describe(one) for one in different[:_MOST_NAMED])
            more = f" and {len(different) - _MOST_NAMED} others" if len(different) > _MOST_NAMED else ""
            yield f"{words}{more} {_relate(different)}, but their pixels differ; {_ADVICE}"


def _is_among(one: Subject, models: Sequence[Subject]) -> bool:
    return any(one is model for model in models)


def _group(models: Sequence[Subject]) -> Iterator[list[Subject]]:
    """Models with equal shapes of all trained layers, and pairs with the same weights whose other layers differ."""
    by_shape: dict[str, list[Subject]] = {}
    for model in models:
        if model.pixels.architecture:
            by_shape.setdefault(model.pixels.architecture, []).append(model)
    yield from (group for group in by_shape.values() if len(group) > 1)
    by_first_layer: dict[str, list[Subject]] = {}
    for model in models:
        if model.weights.layers:
            by_first_layer.setdefault(model.first_layer, []).append(model)
    yield from (list(pair) for group in by_first_layer.values() for pair in itertools.combinations(group, 2) if _is_pair(*pair))


def _is_pair(a: Subject, b: Subject) -> bool:
    """Whether two models with layers of different shapes are one network with two ranges."""
    apart = a.pixels.architecture != b.pixels.architecture and not a.pixels.has_range_of(b.pixels)
    return apart and are_one_network(a.weights, b.weights)


def _are_doubtful(a: Subject, b: Subject) -> bool:
    """Whether the difference of two ranges may be a mistake: one is guessed, or one network has two without the user's word."""
    if "guessed" in (a.pixels.origin, b.pixels.origin):
        return True
    return {a.pixels.origin, b.pixels.origin} != {"stated"} and are_one_network(a.weights, b.weights)


def _list_different(group: Sequence[Subject]) -> Iterator[Subject]:
    """The first model for each range of a group, where the difference of any two may be a mistake."""
    first: list[Subject] = []
    for model in group:
        if not any(model.pixels.has_range_of(one.pixels) for one in first):
            first.append(model)
    doubtful = {k for k, one in enumerate(first) for other in first if other is not one and _are_doubtful(one, other)}
    yield from (first[k] for k in sorted(doubtful))


def _describe(model: Subject) -> str:
    return f"{shorten(model.name, MOST_NAME)} ({model.pixels.range}, {model.pixels.origin})"


def _relate(models: Sequence[Subject]) -> str:
    pairs = itertools.combinations(models, 2)
    proven = all(are_one_network(a.weights, b.weights) for a, b in pairs)
    return "have the same weights in their first layers" if proven else "have layers of the same shapes"
