"""The encoder: which tensor represents the image.

`auto` takes the features that a network ends with, where nothing trained follows them. Otherwise it considers bottlenecks: tensors
that every path from the image to the outputs passes through, with trained layers on both sides, at least half of the work below them
or a decoder above. Networks without one (detectors with several heads) are cut where the heads branch off.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxspace.errors import ModelError
from onnxspace.model.constant_sums import find_constant_sums
from onnxspace.model.cut import cut as cut
from onnxspace.model.features_at_end import find_features_at_end
from onnxspace.model.heads import find_head_roots, inputs_of
from onnxspace.model.model import Model
from onnxspace.model.named import find_named
from onnxspace.model.records import Candidate as Candidate
from onnxspace.model.records import Encoder as Encoder
from onnxspace.model.shapes import count_elements
from onnxspace.model.trunk import FLOATS as FLOATS
from onnxspace.model.trunk import Trunk as Trunk
from onnxspace.model.waist import find_waists

#: A bottleneck has at least this share of the multiply-adds below it, unless what lies above it is a decoder.
ENOUGH_BELOW = 0.5


def find_encoder(model: Model, trunk: Trunk | None = None) -> Encoder:
    """Find the encoder of a model: the one that the user named, or the one that `auto` selects.

    `trunk` is the model's trunk if it has been computed already. Raises ModelError where the named tensor does not exist or
    does not depend on the image, and where the model has no trained layer.
    """
    found = find_named(model) if model.encoder != "auto" else _choose(model, trunk or Trunk(model))
    constant = find_constant_sums(model, found.tensors)
    if not constant:
        return found
    why = f"{found.why}; its units add up to a constant, so their deviations above the mean are explained"
    return Encoder(found.tensors, why, tuple(dict.fromkeys([*found.deviations, *constant])))


def _choose(model: Model, trunk: Trunk) -> Encoder:
    if not trunk.parametric:
        raise ModelError(
            f"{model.path} has no Conv, Gemm or MatMul with weights between its image and its outputs: "
            "nothing to explain. Leave it out."
        )
    ways = (_find_end, _find_narrowest_bottleneck, _find_heads)
    return next((found for way in ways if (found := way(trunk)) is not None), None) or _use_outputs(trunk)


def _find_end(trunk: Trunk) -> Encoder | None:
    found = find_features_at_end(trunk)
    if found is None:
        return None
    return Encoder((found.tensor,), f"the features that it ends with{_describe_size(found)}")


def _find_narrowest_bottleneck(trunk: Trunk) -> Encoder | None:
    every = [c for c in trunk.candidates() if c.elements is not None]
    waists = find_waists(trunk, [c for c in every if c.below < ENOUGH_BELOW])
    sized = sorted([*waists, *(c for c in every if c.below >= ENOUGH_BELOW)], key=lambda c: c.below)
    if not sized:
        return None
    fewest = min(c.elements or 0 for c in sized)
    best = [c for c in sized if c.elements == fewest][-1]
    kind = "narrowest bottleneck" if best.below >= ENOUGH_BELOW else "waist of an encoder–decoder"
    return _select_tokens(trunk, best) or Encoder((best.tensor,), f"{kind}{_describe_size(best)}")


def _select_tokens(trunk: Trunk, best: Candidate) -> Encoder | None:
    """The tensors that the last trained nodes read, where nothing else is trained above `best` and they have half its values at most."""
    last = [i for i in trunk.parametric if i > trunk.graph.producer[best.tensor]]
    names = inputs_of(trunk, last)
    sizes = [count_elements(trunk.shape_of(name)) for name in names]
    if (
        any(map(trunk.feeds_parametric, last))
        or any(map(trunk.needs_others, names))
        or None in sizes
        or sum(n or 0 for n in sizes) > (best.elements or 0) / 2
    ):
        return None
    return Encoder(tuple(names), f"the tensors that its last layers read: {sum(n or 0 for n in sizes)} values per image")


def _describe_size(found: Candidate) -> str:
    return "" if found.elements is None else f": {found.elements} values per image"


def _find_heads(trunk: Trunk) -> Encoder | None:
    roots = find_head_roots(trunk)
    if not roots:
        return None
    read = inputs_of(trunk, [i for i in trunk.parametric if not trunk.feeds_parametric(i)])
    if trunk.share_below(roots) < min(ENOUGH_BELOW, trunk.share_below(read)):
        return _describe_heads(read, "that its last layers read")
    return _describe_heads(roots, "at which its heads leave")


def _describe_heads(names: Sequence[str], place: str) -> Encoder:
    words = f"the {len(names)} tensors {place}" if len(names) > 1 else "its last features before the final layer"
    return Encoder(tuple(names), f"no bottleneck carries half of the network: {words}")


def _use_outputs(trunk: Trunk) -> Encoder:
    names = tuple(n for n in trunk.graph.outputs if n in trunk.tensors and trunk.is_float(n))
    if not names:
        raise ModelError(f"{trunk.model.path}: no output of a floating-point type depends on the image. Name an --encoder.")
    return Encoder(names, "a single trained layer: the network's own output")
