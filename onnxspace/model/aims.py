"""Where a target is in a network: the tensor whose values are explained, what its axes are, and which class is meant."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.nearest_names import suggest
from onnxspace.inputs.targets import Target
from onnxspace.model.class_names import find_class, read_class_names
from onnxspace.model.detections import BoxForm, find_box_form
from onnxspace.model.grids import find_grid
from onnxspace.model.model import Model
from onnxspace.model.outputs import find_float_outputs
from onnxspace.model.tensor_sizes import measure_tensors

Kind = Literal["class", "dense", "values", "box"]
Probability = Literal["softmax", "sigmoid", "stated"]
#: Operators that make probabilities of a network's last values: a class is explained before them.
_PROBABILITIES: dict[str, Probability] = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
#: Operators that may stand between these and an output.
_PASSING = frozenset({"Identity", "Cast", "Dropout"})
_RESHAPING = _PASSING | {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Aim:
    """A target in one network: what of `tensors` is explained for an image.

    Of a `class`, `axis` is the axis of the classes, `number` the class that is meant (None: by rank); of `dense` outputs, `axis` is that
    of the channels, None where there is one. `names` are those of the classes, empty if unknown. `probability` says how values become
    probabilities; `before` is the operator before which values are taken, empty where they are the output itself.
    """

    target: Target
    kind: Kind
    tensors: tuple[str, ...]
    output: str
    axis: int | None = None
    number: int | None = None
    names: tuple[str, ...] = ()
    probability: Probability = "stated"
    before: str = ""
    boxes: BoxForm | None = None

    @property
    def remark(self) -> str:
        """What is to be known of the explained number, in words; empty where it is the output itself."""
        return f"{self.target.words} is explained before the {self.before} that {self.output} ends with" if self.before else ""

    def name_class(self, number: int) -> str:
        """The name of a class, or its number in words."""
        return (self.names[number] if number < len(self.names) else "") or f"class {number}"


def find_aim(model: Model, target: Target) -> Aim:
    """Find what `target` is in `model`. Raises ConfigError and ModelError where it has no such class, output, region or box."""
    if target.box is not None:
        return _find_box(model, target)
    if target.word is None and target.rank is None and target.region is None:
        return _find_values(model, target)
    return _find_classes(model, target)


def _find_values(model: Model, target: Target) -> Aim:
    output = _check_output(model, str(target.output))
    tensor, before = _find_scores(model, output, _PASSING)
    return Aim(target, "values", (tensor,), output, before=before)


def _check_output(model: Model, name: str) -> str:
    """An output of this name, or the numbers that it is made of. Raises ConfigError, ModelError."""
    held = find_float_outputs(model).tensors
    if name not in (*model.graph.outputs, *held):
        raise ConfigError(f"{model.path} has no output {name!r}; {suggest(name, model.graph.outputs)}")
    if name not in held:
        raise ModelError(
            f"{model.path}: its output {name!r} holds no numbers that depend smoothly on the image alone. "
            f"Name another output; {suggest('', held)}"
        )
    return name


def _find_scores(model: Model, output: str, passing: frozenset[str]) -> tuple[str, str]:
    """The tensor before the operator that makes probabilities of it, and that operator; the output itself and "" without one."""
    graph, name = model.graph, output
    while (place := graph.producer.get(name)) is not None:
        node = graph.nodes[place]
        if node.op_type in _PROBABILITIES and node.domain in ("", "ai.onnx"):
            return node.input[0], node.op_type
        if node.op_type not in passing:
            break
        name = node.input[0]
    return output, ""


@dataclass(frozen=True)
class _Scores:
    """A tensor that may hold classes: its shape for one image, and what it is before."""

    output: str
    tensor: str
    shape: tuple[int, ...]
    before: str

    @property
    def class_axis(self) -> int | None:
        """The axis of the classes, where all other axes have one entry."""
        if not self.shape or math.prod(self.shape) != max(self.shape):
            return None
        return max(range(len(self.shape)), key=lambda axis: (self.shape[axis], axis))


def _find_classes(model: Model, target: Target) -> Aim:
    names, all_scores = read_class_names(model), _list_scores(model, target)
    vectors = [one for one in all_scores if one.class_axis is not None]
    if target.region is None and vectors:
        one = _choose_one(model, vectors, len(names))
        return _make_aim(model, target, one, "class", one.class_axis, names)
    dense = [(one, grid) for one in all_scores if (grid := find_grid(one.shape, model.preprocess)) is not None]
    dense = [(one, grid) for one, grid in dense if grid.layout != "tokens"]
    if not dense:
        raise ModelError(_describe_lack(model, target, all_scores))
    one = _choose_one(model, [one for one, _ in dense], len(names))
    return _make_aim(model, target, one, "dense", next(grid.channel_axis for each, grid in dense if each is one), names)


def _describe_lack(model: Model, target: Target, all_scores: list[_Scores]) -> str:
    held = ", ".join(f"{one.output} {list(one.shape)}" for one in all_scores[:6])
    what = "no output with a value per pixel" if target.region is not None else "no output with a value per class"
    return f"{model.path} has {what} (there are {held}). Say what is explained by --value NAME[index]."


def _list_scores(model: Model, target: Target) -> list[_Scores]:
    outputs = list(find_float_outputs(model).tensors)
    if target.output is not None:
        outputs = [_check_output(model, target.output)]
    return [_measure_scores(model, output) for output in outputs]


def _measure_scores(model: Model, output: str) -> _Scores:
    """The tensor before a Softmax at the end; of dense outputs only where it has the same shape."""
    tensor, before = _find_scores(model, output, _RESHAPING)
    shapes = measure_tensors(model, list(dict.fromkeys((output, tensor))))
    found = _Scores(output, tensor, shapes[tensor], before)
    if found.class_axis is None and shapes[tensor] != shapes[output]:
        return _Scores(output, output, shapes[output], "")
    return found


def _choose_one(model: Model, candidates: list[_Scores], names: int) -> _Scores:
    """The only candidate, or the only one with as many classes as have names; outputs of one tensor count once."""
    apart = list({one.tensor: one for one in candidates}.values())
    fitting = [one for one in apart if names and max(one.shape) == names] or apart
    if len(fitting) > 1:
        listed = ", ".join(f"{one.output} {list(one.shape)}" for one in fitting[:6])
        raise ConfigError(f"{model.path} has several outputs with classes: {listed}. Name one by --value {fitting[0].output}.")
    return fitting[0]


def _make_aim(model: Model, target: Target, one: _Scores, kind: Kind, axis: int | None, names: tuple[str, ...]) -> Aim:
    count = 1 if axis is None else one.shape[axis]
    held = names if len(names) == count else ()
    number = None if target.word is None else find_class(target.word, names, count, model.path)
    if target.rank is not None and target.rank > count:
        raise ConfigError(
            f"{model.path} has {count} class(es) in {one.output}, fewer than --top {target.rank}. Give a smaller number."
        )
    if target.contrast and (kind != "class" or count < 2):
        raise ConfigError(f"{model.path} has no other class in {one.output} to subtract. Leave out --contrast.")
    way = _PROBABILITIES.get(one.before, "stated")
    return Aim(target, kind, (one.tensor,), one.output, axis, number, held, way, one.before)


def _find_box(model: Model, target: Target) -> Aim:
    if target.output is not None:
        raise ConfigError("--box finds the outputs of a detector by itself. Leave out --value.")
    names = read_class_names(model)
    outputs = [name for name in model.graph.outputs if name in set(find_float_outputs(model).tensors)]
    form = find_box_form(model, measure_tensors(model, outputs), len(names))
    number = None if target.word is None else find_class(target.word, names, form.classes, model.path)
    held = names if len(names) == form.classes else ()
    return Aim(target, "box", form.tensors, " and ".join(form.tensors), None, number, held, boxes=form)
