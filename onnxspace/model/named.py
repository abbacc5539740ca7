"""Encoders that a user names: tensors or nodes, in the form in which encoders are printed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from onnxspace.errors import ModelError
from onnxspace.inputs.config import JOINT
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.model.model import Model
from onnxspace.model.records import DEVIATIONS, Encoder

#: Why an encoder is one that a user names.
NAMED = "named by the user"
#: Names that a name which is unknown is compared with.
_MOST_COMPARED = 10_000


def find_named(model: Model) -> Encoder:
    """Find the tensors that `model.encoder` names: one, or several joined by ` + `, each of which may have ` (deviations)` behind it.

    Raises ModelError for a name that the graph does not have, or that does not depend on the image.
    """
    names = [model.encoder] if _resolve(model, model.encoder) else model.encoder.split(JOINT)
    found = {_find_tensor(model, name): _is_marked(model, name) for name in names}
    return Encoder(tuple(found), NAMED, tuple(tensor for tensor, marked in found.items() if marked))


def _is_marked(model: Model, name: str) -> bool:
    return name.endswith(DEVIATIONS) and _resolve(model, name) is None


def _resolve(model: Model, name: str) -> str | None:
    """The tensor of this name, or the first output of the node of this name; None where there is neither."""
    if name in model.graph.producer:
        return name
    return next((node.output[0] for node in model.graph.nodes if node.name == name and node.output), None)


def _list_names(model: Model) -> Iterator[str]:
    """Tensors and nodes, of a large graph the first ones."""
    nodes = (node.name for node in model.graph.nodes if node.name)
    return islice(chain(model.graph.producer, nodes), _MOST_COMPARED)


def _find_tensor(model: Model, wanted: str) -> str:
    """The tensor that `wanted` names, if it depends on the image."""
    name = wanted.removesuffix(DEVIATIONS) if _is_marked(model, wanted) else wanted
    tensor = _resolve(model, name)
    if tensor is None:
        raise ModelError(
            f"{model.path}: {describe_unknown('tensor or node', wanted, _list_names(model), listed=False)} "
            f"`onnxspace inspect {model.path}` lists the encoder candidates."
        )
    if model.graph.producer[tensor] not in model.graph.descendants_of(model.image.name):
        raise ModelError(f"{model.path}: {wanted!r} does not depend on the image. Name another encoder.")
    return tensor
