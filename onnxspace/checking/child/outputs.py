"""All outputs of a whole artifact, computed by ONNX Runtime from the file's own bytes."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.checking.child.other_inputs import fill_inputs
from onnxspace.checking.values import OPEN, Signal, moments_of, sketch_row
from onnxspace.errors import ModelError, quote_message
from onnxspace.model.brain_floats import CONVERTED
from onnxspace.model.graph import domain_of, iter_nodes
from onnxspace.model.model import Model
from onnxspace.model.old_opsets import raise_opset
from onnxspace.model.runtime import Runner, import_onnxruntime, make_session_options
from onnxspace.model.shapes import refuse_large_tensors

#: Values of all images of all outputs that are kept as they are (1 GB); of larger outputs only sketches remain.
_MOST_KEPT = 2**28
#: Domains of ONNX Runtime's own operators.
_OWN = {"", "ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.training", "com.microsoft", "com.ms.internal.nhwc"}
_WAY_OUT = "Export it again, or compare without its outputs by --limit outputs=none."


def observe_outputs(model: Model, images: NDArray[np.uint8]) -> tuple[dict[str, Signal], dict[str, str]]:
    """The signals of the outputs of `model` for `images` uint8 [images, size, size, 3], and why other outputs have none.

    The whole file is loaded and run image by image; inputs besides the image get the values of `fill_inputs`. Raises ModelError
    where ONNX Runtime can't load or run it.
    """
    refuse_large_tensors(model.proto, {model.image.name: model.input_shape}, model.path)
    names = [value.name for value in model.proto.graph.output]
    session = _load(model)
    others = fill_inputs(session, model.image.name)
    records: dict[str, _Record] = {name: _Record() for name in names}
    batch = 1 if model.arrangement is None else model.arrangement.batch or 1
    for values in _feeds(model, images):
        for name, value in zip(names, _run(session, {model.image.name: values, **others}, names, model.path), strict=True):
            records[name].add(_first_image(value, batch))
            _drop_largest(records)
    signals = {name: record.signal() for name, record in records.items() if not record.reason}
    return signals, {name: record.reason for name, record in records.items() if record.reason}


def _load(model: Model) -> Any:
    """An ONNX Runtime session of the file, optimised as its users run it, else as it is."""
    try:
        return _session(model, optimise=True)
    except Exception:  # a few graphs run only without optimisation; ONNX Runtime's errors share no base class
        try:
            return _session(model, optimise=False)
        except Exception as error:
            reason = _describe_libraries(model) or quote_message(error)
            raise ModelError(f"{model.path} can't be loaded by ONNX Runtime ({reason}). {_WAY_OUT}") from error


def _describe_libraries(model: Model) -> str:
    """Words for operators of libraries, which are not loaded; empty where there are none."""
    domains = sorted({domain_of(node) for node in iter_nodes(model.proto.graph)} - _OWN)
    return f"it has operators of {' and '.join(map(repr, domains))}, whose libraries are not loaded" if domains else ""


def _session(model: Model, *, optimise: bool) -> Any:
    content = Path(model.path).read_bytes()
    same = hashlib.sha256(content).hexdigest() == model.sha256  # else it has external data, which only `read_model` reads
    if not same or raise_opset(model.network) is not model.network or _takes_other_type(model):
        return Runner(model.file_network or model.network, optimise=True).session
    options = make_session_options(optimise=optimise)
    return import_onnxruntime().InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _takes_other_type(model: Model) -> bool:
    """Whether the file's image is of a type that NumPy lacks, so that the graph which converts it is run."""
    return any(name.startswith(f"{model.image.name}{CONVERTED}") for node in model.graph.nodes for name in node.output)


def _feeds(model: Model, images: NDArray[np.uint8]) -> Iterator[NDArray[Any]]:
    """One image after the other, repeated where the file has a batch of a fixed size.

    Where images can't be computed one by one, the others of the batch are those that follow.
    """
    kind = onnx.helper.tensor_dtype_to_np_dtype(model.image.elem_type)
    for i in range(len(images)):
        rows = (np.arange(model.images_at_once) + i) % len(images)
        yield model.file_input(images[rows]).astype(kind)


def _run(session: Any, feeds: Mapping[str, NDArray[Any]], names: Sequence[str], path: str) -> list[Any]:
    try:
        return list(session.run(list(names), dict(feeds)))
    except Exception as error:  # ONNX Runtime's errors share no base class
        raise ModelError(f"{path} can't be run by ONNX Runtime ({quote_message(error)}). {_WAY_OUT}") from error


def _first_image(value: Any, batch: int) -> Any:
    """What a value says of the first image of a batch of equal ones; its batch axis has the size 1."""
    return value[:1] if isinstance(value, np.ndarray) and batch > 1 and value.shape[:1] == (batch,) else value


def _numbers(value: Any) -> NDArray[np.float32]:
    """The numbers of a tensor, sequence or map, which ONNX Runtime returns as an array, list or dictionary.

    Texts count as checksums between −1 and 1. Raises TypeError for anything else.
    """
    if isinstance(value, Mapping):
        return _numbers([value[key] for key in sorted(value, key=str)])
    if isinstance(value, list | tuple):
        return np.concatenate([np.zeros(0, np.float32), *(_numbers(one).ravel() for one in value)])
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        return np.array([zlib.crc32(str(text).encode()) / 2**31 - 1 for text in array.ravel()], np.float32)
    return np.asarray(array, np.float32)


class _Record:
    """Collects one output, image by image; the values themselves until `kept` is set to False."""

    def __init__(self) -> None:
        self.kept, self.reason, self.values = True, "", 0
        self.shapes: list[tuple[int, ...]] = []
        self.rows: list[NDArray[np.float32]] = []
        self.reduced: list[tuple[NDArray[np.float16], float, int, bool, NDArray[np.float64]]] = []
        self.sum, self.squares = np.zeros(0), 0.0

    def add(self, value: Any) -> None:
        try:
            numbers = _numbers(value)
        except (TypeError, ValueError):
            self.reason = f"it gives {type(value).__name__}, not numbers"
            return
        self.shapes.append(numbers.shape)
        self.values += numbers.size
        self._keep(np.ascontiguousarray(numbers).reshape(-1))

    def _keep(self, row: NDArray[np.float32]) -> None:
        if self.kept:
            self.rows.append(row)
        else:
            self._reduce(row)

    def reduce(self) -> None:
        """Reduce what was kept, and whatever follows."""
        rows, self.rows, self.kept, self.values = self.rows, [], False, 0
        for row in rows:
            self._reduce(row)

    def _reduce(self, row: NDArray[np.float32]) -> None:
        finite = bool(np.isfinite(row).all())
        row = row if finite else np.nan_to_num(row, nan=0.0, posinf=0.0, neginf=0.0)
        wide = row.astype(np.float64)
        if len(wide) > len(self.sum):
            self.sum = np.pad(self.sum, (0, len(wide) - len(self.sum)))
        self.sum[: len(wide)] += wide
        self.squares += float(wide @ wide)
        top = int(row.argmax()) if row.size else 0
        self.reduced.append(
            (sketch_row(row, len(self.reduced)), math.sqrt(float(wide @ wide)), top, finite, moments_of([wide])[0])
        )

    def signal(self) -> Signal:
        if self.kept:
            return Signal.of(_pad(self.rows), _common_shape(self.shapes))
        sketches, lengths, tops, finite, moments = zip(*self.reduced, strict=True)
        varying = max(0.0, self.squares - float(self.sum @ self.sum) / len(lengths))
        return Signal(
            _common_shape(self.shapes), np.stack(sketches), np.array(lengths), np.array(tops, np.intp), None, varying,
            np.array(finite), np.stack(moments),
        )  # fmt: skip


def _drop_largest(records: Mapping[str, _Record]) -> None:
    """Reduce the largest outputs until the rest is small enough to be kept."""
    while sum(record.values for record in records.values() if record.kept) > _MOST_KEPT:
        max((record for record in records.values() if record.kept), key=lambda record: record.values).reduce()


def _pad(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Rows of any lengths as one array, filled with zeros."""
    made = np.zeros((len(rows), max(map(len, rows))), np.float32)
    for target, row in zip(made, rows, strict=True):
        target[: len(row)] = row
    return made


def _common_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of all images' values without the batch axis, OPEN for axes on which they differ.

    A first axis that is 1 for all images is the batch's; that of boxes, whose number depends on the image, is not. Where ranks
    differ, there is one open axis.
    """
    if len({len(shape) for shape in shapes}) > 1:
        return (OPEN,)
    sizes = [axis[0] if len(set(axis)) == 1 else OPEN for axis in zip(*shapes, strict=True)]
    return tuple(sizes[1:] if sizes[:1] == [1] else sizes)
