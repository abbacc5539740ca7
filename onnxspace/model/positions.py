"""The tensor with positions at which maps of activations are computed, and the attentions that a rollout multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from onnxspace.errors import ModelError
from onnxspace.model.attentions import Attention, find_attentions
from onnxspace.model.encoder import find_encoder
from onnxspace.model.grids import Grid, find_activation_grid, find_token_grid
from onnxspace.model.model import Model
from onnxspace.model.tensor_sizes import measure_tensors
from onnxspace.model.trunk import Trunk

_NO_POSITIONS = (
    "Name one by --encoder (`onnxspace inspect` lists candidates), or use a method of the image, such as gradient-x-input."
)


@dataclass(frozen=True)
class Positions:
    """A `tensor` whose values have positions in the image, which `grid` describes."""

    tensor: str
    grid: Grid


def find_positions(model: Model, tensors: Sequence[str], *, dense: bool = False) -> Positions:
    """Find the tensor with positions from which `tensors` are computed: the encoder that is named, else the last one.

    Of `dense` outputs it is the encoder, if that has positions: the last one is at the pixels themselves. The last one is what the last attention's queries and keys are made of, or the last tensor of four axes that a trained layer
    above it depends on, whichever is later. Raises ModelError where there is none.
    """
    if model.encoder != "auto":
        return _use_encoder(model, tensors)
    if dense:
        with suppress(ModelError):
            return _use_encoder(model, tensors)
    trunk = Trunk(model)
    attentions = find_attentions(model, tensors)
    planes, tokens = _find_planes(trunk, tensors, attentions), _find_tokens(trunk, attentions)
    found = [one for one in (planes, tokens) if one is not None]
    if not found:
        raise ModelError(
            f"{model.path} has no tensor with positions in the image below {' and '.join(tensors)}. {_NO_POSITIONS}"
        )
    return max(found, key=lambda one: model.graph.producer[one.tensor])


def _use_encoder(model: Model, tensors: Sequence[str]) -> Positions:
    encoder = find_encoder(model)
    if len(encoder.tensors) > 1:
        raise ModelError(f"{model.path}: {encoder} is several tensors, but maps of activations are of one. Name one.")
    (name,) = encoder.tensors
    shape = measure_tensors(model, [name])[name]
    grid = find_activation_grid(shape, model.preprocess)
    if grid is None:
        raise ModelError(f"{model.path}: {name} [{', '.join(map(str, shape))}] has no positions in the image. {_NO_POSITIONS}")
    if model.graph.producer[name] not in model.graph.ancestors_of(tensors):
        raise ModelError(f"{model.path}: {' and '.join(tensors)} does not depend on {name}. Name another --encoder.")
    return Positions(name, grid)


def _find_planes(trunk: Trunk, tensors: Sequence[str], attentions: Sequence[Attention]) -> Positions | None:
    """The last tensor of four axes, outside of attention, on which a trained layer below `tensors` depends."""
    below = trunk.graph.ancestors_of(tensors)
    trained = [i for i in trunk.parametric if i in below]
    inside = set[int]().union(*(one.find_interior(trunk.graph) for one in attentions))
    reached = trunk.graph.ancestors_of([name for i in trained for name in trunk.graph.reads[i]])
    for place in sorted(reached - inside, reverse=True):
        for name in trunk.graph.nodes[place].output:
            shape = trunk.shape_of(name) if name in trunk.tensors and trunk.is_trained(name) and trunk.is_float(name) else None
            grid = (
                None
                if shape is None or len(shape) != 4 or None in shape
                else find_activation_grid([n or 0 for n in shape], trunk.model.preprocess)
            )
            if grid is not None:
                return Positions(name, grid)
    return None


def _find_tokens(trunk: Trunk, attentions: Sequence[Attention]) -> Positions | None:
    """The tokens that queries and keys of the last attention are both made of by trained layers."""
    graph = trunk.graph
    for one in reversed(attentions):
        shared = one.find_sources(graph)
        layers = [i for i in graph.ancestors_of(one.operands) if i in trunk.parametric_set]
        read = {name for i in layers for name in graph.reads[i]}
        for place in sorted(shared, reverse=True):
            for name in graph.nodes[place].output:
                shape = trunk.shape_of(name) if name in read and name in trunk.tensors else None
                grid = (
                    None
                    if shape is None or None in shape
                    else find_activation_grid([n or 0 for n in shape], trunk.model.preprocess)
                )
                if grid is not None and grid.layout == "tokens":
                    return Positions(name, grid)
    return None


def find_rollout(model: Model, tensors: Sequence[str]) -> tuple[tuple[str, ...], Grid]:
    """Find the probabilities of all attentions below `tensors`, in order, and the grid of the tokens that they are among.

    Raises ModelError where there is no attention, where an operator holds its probabilities, and where they are not among all tokens.
    """
    found = find_attentions(model, tensors)
    if not found:
        raise ModelError(
            f"{model.path} has no attention, a Softmax over keys, below {' and '.join(tensors)}. Use grad-cam or another method."
        )
    fused = next((model.graph.nodes[one.node].op_type for one in found if not one.probabilities), None)
    if fused is not None:
        raise ModelError(
            f"{model.path} has the operator {fused}, which holds its probabilities. Export it at opset 17 without fused attention."
        )
    names = tuple(one.probabilities for one in found)
    shapes = measure_tensors(model, names)
    sizes = {shapes[name][-2:] for name in names}
    (size, *_) = next(iter(sizes)) if len(sizes) == 1 else (0,)
    grid = find_token_grid(size, model.preprocess) if size else None
    square = all(len(shape) in (3, 4) and shape[-1] == shape[-2] for shape in shapes.values())
    if grid is None or not square or any(len(s) == 4 and s[0] != 1 for s in shapes.values()):
        listed = ", ".join(sorted({str(list(shape)) for shape in shapes.values()})[:4])
        raise ModelError(
            f"{model.path} attends within windows or among reduced tokens ({listed}), where probabilities can't be multiplied. "
            "Use grad-cam or another method."
        )
    return names, grid
