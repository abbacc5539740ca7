"""Write a model tensor by tensor: serialised as a whole, it would be copied three times in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from onnxspace.errors import ModelError, OutputError

MAX_BYTES = 2**31 - 1
#: Keys of protobuf's fields of bytes: ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW = b"\x3a", b"\x2a", b"\x4a"


def write_model(model: onnx.ModelProto, destination: Path, source: str) -> None:
    """Write a model into one file, and consume its message. Raises ModelError where it is too large, OutputError."""
    pieces = list(_serialise(model))
    if sum(map(len, pieces)) > MAX_BYTES:
        raise ModelError(
            f"{source} is larger than one ONNX file can be (2 GiB). Export it with external data in its framework, as with "
            "torch.onnx.export(…, external_data=True); every command reads such files."
        )
    try:
        with destination.open("wb") as file:
            file.writelines(pieces)
    except OSError as error:
        raise OutputError(f"{destination} can't be written ({error.strerror or error}). Free some space.") from error


def _serialise(model: onnx.ModelProto) -> Iterator[bytes]:
    tensors = [piece for tensor in model.graph.initializer for piece in _serialise_tensor(tensor)]
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString()
    model.ClearField("graph")
    yield model.SerializeToString()
    yield _GRAPH + _encode_length(len(graph) + sum(map(len, tensors)))
    yield graph
    yield from tensors


def _serialise_tensor(tensor: onnx.TensorProto) -> tuple[bytes, bytes]:
    """A tensor's header, and its values."""
    raw, has_raw = tensor.raw_data, tensor.HasField("raw_data")
    tensor.ClearField("raw_data")
    head = tensor.SerializeToString() + (_RAW + _encode_length(len(raw)) if has_raw else b"")
    return _INITIALIZER + _encode_length(len(head) + len(raw)) + head, raw


def _encode_length(number: int) -> bytes:
    """A length as a protobuf varint: seven bits to a byte, the lowest first."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes((*found, number))
