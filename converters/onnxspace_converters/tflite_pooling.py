"""MediaPipe's max pooling with places, and its inverse, in operators of TensorFlow.

`MaxPoolingWithArgmax2D` gives the largest value of each window and its place in the window, row by row from 0, plus 0.1; of equal
values the first counts. `MaxUnpooling2D` puts each value at its place of a window of zeros. Both have the parameters of TensorFlow's
poolings, as MediaPipe publishes them with its operators. Windows that overlap, or don't fill the image, are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxspace.errors import ModelError
from onnxspace_converters.tflite_schema import add_tensor, operator_code, place_of

POOL, UNPOOL = "MaxPoolingWithArgmax2D", "MaxUnpooling2D"
#: Numbers of operators in TensorFlow's schema.
_CONCAT, _TO_SPACE, _FLOOR, _MAX_POOL, _TO_DEPTH, _SPLIT, _EQUAL, _SELECT = 2, 5, 8, 17, 26, 49, 71, 123
_FLOAT32, _BOOL = 0, 6
_VALID = 1
#: What is added to a place so that converting it to a whole number gives that number.
_MIDDLE = 0.1
#: Activations that LiteRT's poolings apply: none, Relu, Relu between −1 and 1, Relu6.
_ACTIVATIONS = (0, 1, 2, 3)


@dataclass(frozen=True)
class _Window:
    """A window that is as high and wide as its stride, and the number of the activation behind it."""

    side: int
    activation: int

    @property
    def places(self) -> int:
        return self.side**2


class PoolRewriting:
    """The rewriting of one `graph` of a `model`, both as LiteRT's schema has them; `path` names the file in errors."""

    def __init__(self, model: Any, graph: Any, path: Path) -> None:
        self.model, self.graph, self.path = model, graph, path
        self._windows: dict[int, _Window] = {}

    def replace_pool(self, operator: Any) -> None:
        """Replace a MaxPoolingWithArgmax2D by a pooling and, for its places, comparisons with the largest value. Raises ModelError."""
        from ai_edge_litert import schema_py_generated as schema

        (source,), (target, places) = (list(map(int, names)) for names in (operator.inputs, operator.outputs))
        window = self._read_window(operator, POOL)
        self._check(POOL, [source, target, places], source, window)
        self._windows[places] = window
        start = place_of(self.graph, operator)
        self.graph.operators.remove(operator)
        new = _Operators(self.model, self.graph, start)
        shape = list(self.graph.tensors[target].shape)
        largest = new.add(_MAX_POOL, [source], shape, schema.Pool2DOptionsT(), _pool_options(window, 0))
        new.add(_MAX_POOL, [source], shape, schema.Pool2DOptionsT(), _pool_options(window, window.activation), target)
        wide = [shape[0], shape[1], shape[2], shape[3] * window.places]
        packed = new.add(_TO_DEPTH, [source], wide, schema.SpaceToDepthOptionsT(), {"blockSize": window.side})
        axis = new.store(np.array(3, np.int32))
        parts = new.add_split([axis, packed], shape, window.places)
        place = new.store(np.full(shape, window.places - 1 + _MIDDLE, np.float32))
        for k in reversed(range(window.places - 1)):
            same = new.add(_EQUAL, [parts[k], largest], shape, schema.EqualOptionsT(), {}, kind=_BOOL)
            value = new.store(np.array(k + _MIDDLE, np.float32))
            place = new.add(_SELECT, [same, value, place], shape, schema.SelectV2OptionsT(), {}, places if k == 0 else None)

    def replace_unpool(self, operator: Any) -> None:
        """Replace a MaxUnpooling2D by selections for each place of the window, put beside each other. Raises ModelError."""
        from ai_edge_litert import schema_py_generated as schema

        (source, places), (target,) = (list(map(int, names)) for names in (operator.inputs, operator.outputs))
        window = self._read_window(operator, UNPOOL)
        self._check(UNPOOL, [source, target, places], target, window)
        if (pooled := self._windows.get(places)) is None or pooled.side != window.side:
            raise self._refuse(UNPOOL, f"whose places are not those of a {POOL} with the same window")
        start = place_of(self.graph, operator)
        self.graph.operators.remove(operator)
        new = _Operators(self.model, self.graph, start)
        shape = list(self.graph.tensors[source].shape)
        whole = new.add(_FLOOR, [places], shape)
        zero = new.store(np.array(0, np.float32))
        parts = []
        for k in range(window.places):
            same = new.add(_EQUAL, [whole, new.store(np.array(k, np.float32))], shape, schema.EqualOptionsT(), {}, kind=_BOOL)
            parts.append(new.add(_SELECT, [same, source, zero], shape, schema.SelectV2OptionsT(), {}))
        wide = [shape[0], shape[1], shape[2], shape[3] * window.places]
        packed = new.add(_CONCAT, parts, wide, schema.ConcatenationOptionsT(), {"axis": 3})
        new.add(_TO_SPACE, [packed], [], schema.DepthToSpaceOptionsT(), {"blockSize": window.side}, target)

    def _read_window(self, operator: Any, name: str) -> _Window:
        padding, wide, high, width, height, activation = struct.unpack("<6i", bytes(operator.customOptions)[:24])
        if not wide == high == width == height or padding not in (1, 2) or not 2 <= width <= 8:
            raise self._refuse(name, "whose windows overlap, or are not squares of 2 to 8 pixels")
        return _Window(width, activation if activation in _ACTIVATIONS else 0)

    def _check(self, name: str, tensors: Sequence[int], large: int, window: _Window) -> None:
        """Refuse tensors of other types than float32, and sides of the tensor `large` that windows don't fill."""
        if any(self.graph.tensors[index].type != _FLOAT32 for index in tensors):
            raise self._refuse(name, "of numbers that are not float32")
        sides = list(self.graph.tensors[large].shape)[1:3]
        if len(sides) != 2 or any(side <= 0 or side % window.side for side in sides):
            raise self._refuse(name, "of an image whose sides are not multiples of its window's")

    def _refuse(self, name: str, why: str) -> ModelError:
        return ModelError(
            f"{self.path} has an operator {name} {why}, which can't be converted. Convert the network without it."
        )


def _pool_options(window: _Window, activation: int) -> dict[str, int]:
    side = window.side
    return {
        "padding": _VALID, "strideW": side, "strideH": side, "filterWidth": side, "filterHeight": side,
        "fusedActivationFunction": activation,
    }  # fmt: skip


class _Operators:
    """Inserts operators into a graph one after another, from the place `start` on."""

    def __init__(self, model: Any, graph: Any, start: int) -> None:
        self.model, self.graph, self.place = model, graph, start

    def store(self, values: Any) -> int:
        """Store an array; returns the number of its tensor."""
        return add_tensor(self.model, self.graph, values)

    def add(
        self, number: int, inputs: Sequence[int], shape: Sequence[int], options: Any = None, fields: dict[str, int] | None = None,
        target: int | None = None, kind: int = _FLOAT32,
    ) -> int:  # fmt: skip
        """Insert an operator with one output, a new tensor of `shape` and type `kind` unless `target` is one; returns its number."""
        output = add_tensor(self.model, self.graph, None, shape=list(shape), kind=kind) if target is None else target
        self._insert(number, inputs, [output], options, fields or {})
        return output

    def add_split(self, inputs: Sequence[int], shape: Sequence[int], count: int) -> list[int]:
        """Insert a SPLIT into `count` tensors of `shape`; returns their numbers."""
        from ai_edge_litert import schema_py_generated as schema

        outputs = [add_tensor(self.model, self.graph, None, shape=list(shape), kind=_FLOAT32) for _ in range(count)]
        self._insert(_SPLIT, inputs, outputs, schema.SplitOptionsT(), {"numSplits": count})
        return outputs

    def _insert(self, number: int, inputs: Sequence[int], outputs: Sequence[int], options: Any, fields: dict[str, int]) -> None:
        from ai_edge_litert import schema_py_generated as schema

        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = operator_code(self.model, number), list(inputs), list(outputs)
        if options is not None:
            for name, value in fields.items():
                setattr(options, name, value)
            kind = type(options).__name__.removesuffix("T")
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, kind), options
        self.graph.operators.insert(self.place, made)
        self.place += 1
