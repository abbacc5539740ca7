"""Reading untrusted ONNX files: sizes are bounded, paths are confined to the model's folder, and nothing is executed.

External data must lie inside the model's folder (no absolute path, no `..`, no link), and a tensor is read only after its
declared size has been compared with the bytes in the file.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
import onnx.defs
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from onnxspace.errors import ModelError, ModelNotFoundError
from onnxspace.model.graph import find_defect, iter_tensors
from onnxspace.model.network import Network, declare, is_large
from onnxspace.model.rewriting import rewrite

MAX_FILE_BYTES = 2**31 - 1  # protobuf can't hold more in one message
MAX_DATA_BYTES = 64 * 2**30  # of external data: the largest image encoders have about 24 GB
_PACKED_BITS = {
    onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4, onnx.TensorProto.FLOAT4E2M1: 4,
    getattr(onnx.TensorProto, "INT2", -1): 2, getattr(onnx.TensorProto, "UINT2", -2): 2,
}  # fmt: skip
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_COPY = "Copy the model's external data again."
_COMPLEX = {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}


def read_model(path: str | Path) -> tuple[Network, str]:
    """Read and check the ONNX file at `path`, which may be untrusted.

    Returns the model with its weights and with model-local functions inlined, and the SHA-256 (64 hexadecimal digits) of the
    file and its external data. Raises ModelNotFoundError where there is no such file, and ModelError where it is not a
    complete and valid ONNX model.
    """
    path = Path(path)
    content = _read_content(path)
    model = _parse(path, content)
    digest = hashlib.sha256(content)
    del content
    weights = _load_external_data(path, model, digest.update)
    network = rewrite(path, model)
    if (found := find_defect(network.proto.graph)) is not None:
        raise ModelError(f"{path} is not a valid ONNX model: {found}. Export it again.")
    return replace(network, weights={**weights, **network.weights}), digest.hexdigest()


def _load_external_data(path: Path, model: onnx.ModelProto, note: Callable[[bytearray], None]) -> dict[str, NDArray[Any]]:
    """Check every tensor and read external data: large initialisers into arrays, all else into the message."""
    weights: dict[str, NDArray[Any]] = {}
    room = MAX_DATA_BYTES
    for index, tensor in enumerate(iter_tensors(model)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = _read_external(path, tensor, room)
            room -= len(content)
            note(content)
            if index < len(model.graph.initializer) and is_large(tensor):
                weights[tensor.name] = _to_array(tensor, content)
                tensor.CopyFrom(declare(tensor))
                continue
            _embed(path, tensor, content)
        _check_size(path, tensor)
    return weights


def _read_content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder, not an ONNX file. Give the .onnx file inside it.")
        if not path.is_file() and path.exists():
            raise ModelError(f"{path} is not a regular file. Give the path of an .onnx file.")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path} is larger than an ONNX file can be (2 GiB). Save its weights as external data.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{path}: no such file. Check the path.") from error
    except ModelError:
        raise
    except OSError as error:
        raise ModelError(f"{path} can't be read ({error.strerror or error}). Check the path and its permissions.") from error
    except ValueError as error:
        raise ModelError(f"{path} can't be the path of a file ({error}). Check the path.") from error


def _parse(path: Path, content: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    if not content:
        raise ModelError(f"{path} is empty. Export or copy it again.")
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX file, or is truncated. Export or copy it again.") from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path} is not an ONNX model: it contains no graph. Export it again.")
    if any(isinstance(text, bytes) for text in _iter_texts(model)):
        raise ModelError(f"{path} is damaged: it contains a name that is not UTF-8 text. Export or copy it again.")
    _check_opset(path, model)
    return model


def _iter_texts(message: Message) -> Iterator[str | bytes]:
    """Iterate over all strings of a message and its nested messages; protobuf returns invalid UTF-8 as bytes."""
    for field, value in message.ListFields():
        values = [value] if isinstance(value, (str, bytes, Message)) else value
        if field.type == field.TYPE_STRING:
            yield from values
        elif field.type == field.TYPE_MESSAGE:
            for inner in values:
                yield from _iter_texts(inner)


def _check_opset(path: Path, model: onnx.ModelProto) -> None:
    if not model.opset_import:
        raise ModelError(f"{path} declares no opset, so its operators are undefined. Export it again.")
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not 1 <= entry.version <= newest:
            raise ModelError(
                f"{path} uses opset {entry.version}, but only opsets 1 to {newest} are supported. "
                "Export it with one of these, or update onnx and onnxruntime."
            )
    if model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"{path} uses version {model.ir_version} of the ONNX format, but only versions up to {onnx.IR_VERSION} are "
            "supported. Update onnx and onnxruntime."
        )


def _read_external(path: Path, tensor: onnx.TensorProto, room: int) -> bytearray:
    """Read a tensor's external data; `room` is the number of bytes that the model may still have."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    source = _resolve_location(path, tensor.name, entries.get("location", ""))
    offset, length = _resolve_span(path, tensor, entries)
    if length > room:
        raise ModelError(f"{path} has more than {MAX_DATA_BYTES // 2**30} GiB of external data. Leave it out.")
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path}: external data {source.name!r} of tensor {tensor.name!r} is not a regular file. {_COPY}")
        if offset + length > status.st_size:
            raise ModelError(
                f"{path}: tensor {tensor.name!r} needs bytes {offset} to {offset + length} of {source.name}, which has only "
                f"{status.st_size}. {_COPY}"
            )
        return _read_range(source, offset, length)
    except MemoryError as error:
        raise ModelError(f"{path}: its weights do not fit in memory. Leave it out.") from error
    except OSError as error:
        raise ModelError(
            f"{path}: external data {source.name!r} of tensor {tensor.name!r} can't be read ({error.strerror or error}). "
            "Keep it in the model's folder."
        ) from error


def _read_range(source: Path, offset: int, length: int) -> bytearray:
    content = bytearray(length)
    with source.open("rb") as file:
        file.seek(offset)
        if file.readinto(content) < length:
            raise OSError("it was truncated while it was read")
    return content


def _to_array(tensor: onnx.TensorProto, content: bytearray) -> NDArray[Any]:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    return np.frombuffer(content, dtype).reshape(tuple(tensor.dims))


def _embed(path: Path, tensor: onnx.TensorProto, content: bytearray) -> None:
    if len(content) > MAX_FILE_BYTES:
        raise ModelError(f"{path}: tensor {tensor.name!r} is too large to be converted (more than 2 GiB). Leave the model out.")
    tensor.raw_data = bytes(content)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _resolve_location(path: Path, name: str, location: str) -> Path:
    if not location or "\0" in location:
        raise ModelError(f"{path}: tensor {name!r} names no file for its external data. Export the model again.")
    windows = PureWindowsPath(location)
    folder = Path(os.path.realpath(path.parent))
    target = folder / location
    outside = ".." in windows.parts or windows.anchor or PurePosixPath(location).is_absolute()
    if outside or Path(os.path.realpath(target)) != target:
        raise ModelError(
            f"{path}: tensor {name!r} keeps its data outside the model's folder ({location!r}: absolute, '..' or a link), "
            "which is not followed. Save the model with its data beside it."
        )
    return target


def _resolve_span(path: Path, tensor: onnx.TensorProto, entries: dict[str, str]) -> tuple[int, int]:
    needed = _bytes_needed(path, tensor)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", needed))
    except ValueError as error:
        raise ModelError(
            f"{path}: the offset or length of the external data of tensor {tensor.name!r} is not a number. "
            "Export the model again."
        ) from error
    if offset < 0:
        raise ModelError(f"{path}: the external data of tensor {tensor.name!r} has a negative offset. Export the model again.")
    if length != needed:
        raise ModelError(
            f"{path}: the external data of tensor {tensor.name!r} spans {length} bytes from {offset}, but its shape needs "
            f"{needed}. Export the model again."
        )
    return offset, length


def _bytes_needed(path: Path, tensor: onnx.TensorProto) -> int:
    if any(dim < 0 for dim in tensor.dims):
        raise ModelError(f"{path}: tensor {tensor.name!r} has a negative size. Export the model again.")
    count = math.prod(tensor.dims)
    if tensor.data_type in _PACKED_BITS:
        return int(-(-count * _PACKED_BITS[tensor.data_type] // 8))
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: tensor {tensor.name!r} has element type {tensor.data_type}, which is not supported. "
            "Update onnx, or export the model again."
        ) from error
    return int(count * dtype.itemsize)


def _check_size(path: Path, tensor: onnx.TensorProto) -> None:
    """Refuse a tensor whose data does not match its declared shape, before memory is allocated for that shape."""
    needed = _bytes_needed(path, tensor)
    if tensor.data_type == onnx.TensorProto.STRING:
        fits = len(tensor.string_data) == math.prod(tensor.dims)
    elif tensor.HasField("raw_data"):
        fits = len(tensor.raw_data) == needed
    else:
        held = max(len(getattr(tensor, name)) for name in _FIELDS)
        per_entry = 8 // _PACKED_BITS.get(tensor.data_type, 8)
        expected = math.prod(tensor.dims) * (2 if tensor.data_type in _COMPLEX else 1)
        fits = held in {expected, -(-expected // per_entry)}
    if not fits:
        raise ModelError(f"{path}: tensor {tensor.name!r} holds fewer or more values than its shape requires. Export it again.")
