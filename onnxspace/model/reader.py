"""Reading untrusted ONNX files: sizes are bounded, paths are confined to the model's folder, and nothing is executed.

A tensor is read only after its declared size has been compared with the bytes in the file; `external_data` says where these
may lie.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.defs
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray

from onnxspace.errors import ModelError, ModelNotFoundError
from onnxspace.inputs.names import is_fingerprint
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.model.external_data import ExternalData
from onnxspace.model.graph import iter_tensors
from onnxspace.model.network import Network, declare, is_large
from onnxspace.model.node_order import find_defect
from onnxspace.model.rewriting import rewrite
from onnxspace.model.shapes import MAX_ARRAY_BYTES
from onnxspace.storage.regular_files import NotRegularError, open_regular

MAX_FILE_BYTES = 2**31 - 1  # protobuf can't hold more in one message
_PACKED_BITS = {
    onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4, onnx.TensorProto.FLOAT4E2M1: 4,
    getattr(onnx.TensorProto, "INT2", -1): 2, getattr(onnx.TensorProto, "UINT2", -2): 2,
}  # fmt: skip
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_MOST_ITEM = 16  # bytes of a complex number
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
    network = rewrite(path, model, weights)
    if (found := find_defect(network.proto.graph)) is not None:
        raise ModelError(f"{path} is not a valid ONNX model: {found}. Export it again.")
    return network, digest.hexdigest()


def _load_external_data(path: Path, model: onnx.ModelProto, note: Callable[[bytearray], None]) -> dict[str, NDArray[Any]]:
    """Check every tensor and read external data: large initialisers into arrays, all else into the message."""
    weights: dict[str, NDArray[Any]] = {}
    data, tensors = ExternalData(path, note), list(iter_tensors(model))
    external = [index for index, tensor in enumerate(tensors) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    spans = {index: data.locate(tensors[index], *_resolve_span(path, tensors[index])) for index in external}
    data.plan(spans.values())
    room = MAX_FILE_BYTES  # of what is embedded in the message
    with closing(data):
        for index, tensor in enumerate(tensors):
            if index in spans:
                content = data.read(spans[index])
                if index < len(model.graph.initializer) and is_large(tensor):
                    weights[tensor.name] = _to_array(tensor, content)
                    tensor.CopyFrom(declare(tensor))
                    continue
                room -= len(content)
                _embed(path, tensor, content, room)
            _check_size(path, tensor)
    return weights


def _read_content(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
                raise ModelError(f"{path} is larger than an ONNX file can be (2 GiB). Save its weights as external data.")
            return file.read()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{path}: {describe_missing_file(path)}") from error
    except IsADirectoryError as error:
        if (path / "catalogue.sqlite").is_file():
            raise ModelError(f"{path} is a model space, not an ONNX file. `onnxspace space` has commands for it.") from error
        raise ModelError(f"{path} is a folder, not an ONNX file. Give the .onnx file inside it.") from error
    except NotRegularError as error:
        raise ModelError(f"{path} is not a regular file. Give the path of an .onnx file.") from error
    except MemoryError as error:
        raise ModelError(f"{path} does not fit in memory. Leave it out.") from error
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
        if is_fingerprint(path):
            raise ModelError(f"{path} is a fingerprint, which this command can't use. Give the model itself.") from error
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


def _to_array(tensor: onnx.TensorProto, content: memoryview) -> NDArray[Any]:
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)).newbyteorder("<")
    return np.frombuffer(content, dtype).reshape(tuple(tensor.dims))


def _embed(path: Path, tensor: onnx.TensorProto, content: memoryview, room: int) -> None:
    if room < 0:
        raise ModelError(f"{path}: tensor {tensor.name!r} is too large to be converted (more than 2 GiB). Leave the model out.")
    tensor.raw_data = bytes(content)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _resolve_span(path: Path, tensor: onnx.TensorProto) -> tuple[int, int]:
    """Offset and length of a tensor's external data, which must have the length that its shape needs."""
    needed, entries = _bytes_needed(path, tensor), {entry.key: entry.value for entry in tensor.external_data}
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
    if 0 in tensor.dims and math.prod(dim for dim in tensor.dims if dim) * _MOST_ITEM > MAX_ARRAY_BYTES:
        raise ModelError(f"{path}: tensor {tensor.name!r} has sizes that no array can have. Export the model again.")
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
