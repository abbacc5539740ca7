"""The encoder: which tensor represents the image.

`auto` considers bottlenecks: tensors that every path from the image to the outputs passes through, with trained layers on
both sides. Networks without one in their later half (detectors with several heads) are cut where the heads branch off.
"""

from __future__ import annotations

from onnxspace.errors import ModelError
from onnxspace.model.cut import cut as cut
from onnxspace.model.heads import find_head_roots
from onnxspace.model.model import Model
from onnxspace.model.records import Candidate as Candidate
from onnxspace.model.records import Encoder as Encoder
from onnxspace.model.trunk import FLOATS as FLOATS
from onnxspace.model.trunk import Trunk as Trunk

#: Bottlenecks are considered only if at least this share of the multiply-adds lies below one of them.
ENOUGH_BELOW = 0.5


def find_encoder(model: Model, trunk: Trunk | None = None) -> Encoder:
    """Find the encoder of a model: the one that the user named, or the one that `auto` selects.

    `trunk` is the model's trunk if it has been computed already. Raises ModelError where the named tensor does not exist or
    does not depend on the image, and where the model has no trained layer.
    """
    if model.encoder != "auto":
        return Encoder((_find_named_tensor(model, model.encoder),), "named by the user")
    trunk = trunk or Trunk(model)
    if not trunk.parametric:
        raise ModelError(
            f"{model.path} has no Conv, Gemm or MatMul with weights between its image and its outputs: "
            "nothing to explain. Leave it out."
        )
    return _find_narrowest_bottleneck(trunk) or _find_heads(trunk) or _use_outputs(trunk)


def _find_narrowest_bottleneck(trunk: Trunk) -> Encoder | None:
    candidates = trunk.candidates()
    sized = [c for c in candidates if c.elements is not None]
    if not sized or max(c.below for c in candidates) < ENOUGH_BELOW:
        return None
    fewest = min(c.elements or 0 for c in sized)
    best = [c for c in sized if c.elements == fewest][-1]
    return Encoder((best.tensor,), f"narrowest bottleneck: {fewest} values per image")


def _find_heads(trunk: Trunk) -> Encoder | None:
    roots = find_head_roots(trunk)
    if not roots:
        return None
    if len(roots) == 1:
        return Encoder((roots[0],), "no bottleneck carries half of the network: its last features before the final layer")
    return Encoder(
        tuple(roots), f"no bottleneck carries half of the network: the {len(roots)} tensors at which its heads leave"
    )


def _use_outputs(trunk: Trunk) -> Encoder:
    names = tuple(n for n in trunk.graph.outputs if n in trunk.tensors and trunk.is_float(n))
    if not names:
        raise ModelError(f"{trunk.model.path}: no output of a floating-point type depends on the image. Name an --encoder.")
    return Encoder(names, "a single trained layer: the network's own output")


def _find_named_tensor(model: Model, wanted: str) -> str:
    """The tensor named `wanted`, or the first output of the node of that name, if it depends on the image."""
    graph = model.graph
    reached = graph.descendants_of(model.image.name)
    tensor = wanted if wanted in graph.producer else None
    by_node = [node.output[0] for node in graph.nodes if node.name == wanted and node.output]
    tensor = tensor or (by_node[0] if by_node else None)
    if tensor is None:
        raise ModelError(
            f"{model.path} has no tensor or node named {wanted!r}. "
            f"`onnxspace inspect {model.path}` lists the encoder candidates."
        )
    if graph.producer[tensor] not in reached:
        raise ModelError(f"{model.path}: {wanted!r} does not depend on the image. Name another encoder.")
    return tensor
