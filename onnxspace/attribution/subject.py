"""What of a model is explained by a setup: its encoder, or a target, and the tensor with positions where maps are computed there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnxspace.errors import ModelError
from onnxspace.inputs.methods import METHODS, check_target
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.model.aims import Aim, find_aim
from onnxspace.model.encoder import Encoder, find_encoder
from onnxspace.model.grids import Grid
from onnxspace.model.model import Model
from onnxspace.model.positions import find_positions, find_rollout

#: What maps of activations explain where nothing is named.
_MOST_PROBABLE = Target(rank=1)


@dataclass(frozen=True)
class Subject:
    """What is explained: the sum of the units of `encoder`, or what `aim` names of its tensors.

    The graph is cut at the tensors of `encoder`. With a `grid`, the last of them, or all where there is no `aim`, have these positions,
    and maps are computed there.
    """

    encoder: Encoder
    aim: Aim | None = None
    grid: Grid | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known of what is explained, in words."""
        return tuple(self._list_remarks())

    @property
    def shift(self) -> tuple[str, ...]:
        """A sentence where another number than the one named is explained, such as that before a Softmax."""
        return (f"{self.aim.remark}.",) if self.aim is not None and self.aim.remark else ()

    def _list_remarks(self) -> Iterator[str]:
        if self.aim is not None and self.aim.remark:
            yield self.aim.remark
        if self.grid is not None:
            place = self.encoder.tensors[-1] if self.aim is not None else f"{len(self.encoder.tensors)} attentions"
            yield f"maps are computed at {place}, {self.grid.rows} × {self.grid.columns} positions, and resized (bilinear)"


def find_subject(model: Model, setup: Setup, encoder: Encoder | None = None) -> Subject:
    """Find what the method and the target of `setup` explain of `model`; `encoder` is its encoder if it was found before.

    Raises ConfigError for a target that the method does not explain, ConfigError and ModelError for one that the model lacks.
    """
    check_target(setup.method, setup.target)
    place = METHODS[setup.method].place
    if place == "attention":
        return _find_attentions(model)
    if setup.target is None and place == "image":
        return Subject(encoder or find_encoder(model))
    aim = find_aim(model, setup.target or _MOST_PROBABLE)
    if place == "image":
        return Subject(Encoder(aim.tensors, aim.target.words), aim)
    _refuse_groups(model, setup.method)
    positions = find_positions(model, aim.tensors, dense=aim.kind == "dense")
    return Subject(Encoder((*aim.tensors, positions.tensor), aim.target.words), aim, positions.grid)


def _find_attentions(model: Model) -> Subject:
    _refuse_groups(model, "attention-rollout")
    outputs = [
        name for name in model.graph.outputs if model.graph.producer.get(name) in model.graph.descendants_of(model.image.name)
    ]
    names, grid = find_rollout(model, outputs)
    return Subject(Encoder(names, "the probabilities of its attentions"), None, grid)


def _refuse_groups(model: Model, method: str) -> None:
    if model.group is not None:
        raise ModelError(
            f"{model.path} takes {model.images_at_once} images at a time, which {method} does not support. Export it with an open batch."
        )
