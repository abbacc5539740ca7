"""The metadata that a TFLite file may carry, a FlatBuffers table of its own: how its images are normalised.

Fields by their number in TensorFlow's published schema (metadata_schema.fbs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NAME = b"TFLITE_METADATA"
_NORMALIZATION = 1  # its number among the kinds of processing
_MOST = 16  # entries of any list that are looked at


def normalization(content: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation, (pixel − mean) / std with pixels in 0–255, of the first input; None where it says none."""
    import struct

    try:
        found = _stored(content)
        return None if found is None else _normalization(found)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError):  # damaged: then it says nothing
        return None


def _stored(content: bytes) -> bytes | None:
    from tf2onnx.tflite.Model import Model

    model = Model.GetRootAsModel(bytearray(content), 0)
    for k in range(model.MetadataLength()):
        entry = model.Metadata(k)
        if entry.Name() == _NAME and not model.Buffers(entry.Buffer()).DataIsNone():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def _normalization(content: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    for graph in _tables(_root(content), 3):
        for tensor in list(_tables(graph, 2))[:1]:
            for unit in _tables(tensor, 4):
                if _byte(unit, 0) == _NORMALIZATION and (options := _table(unit, 1)) is not None:
                    mean, std = _floats(options, 0), _floats(options, 1)
                    return (mean, std) if mean and std and all(std) else None
    return None


def _root(content: bytes) -> Any:
    from flatbuffers import encode, number_types, packer
    from flatbuffers.table import Table

    start = encode.Get(packer.uoffset, content, 0)
    return Table(bytearray(content), number_types.UOffsetTFlags.py_type(start))


def _place(table: Any, field: int) -> int:
    return int(table.Offset(4 + 2 * field))


def _tables(table: Any, field: int) -> Iterator[Any]:
    """The tables of a list."""
    from flatbuffers.table import Table

    if (place := _place(table, field)) == 0:
        return
    start = table.Vector(place)
    for k in range(min(table.VectorLen(place), _MOST)):
        yield Table(table.Bytes, table.Indirect(start + 4 * k))


def _table(table: Any, field: int) -> Any:
    from flatbuffers.table import Table

    place = _place(table, field)
    return Table(table.Bytes, table.Indirect(table.Pos + place)) if place else None


def _byte(table: Any, field: int) -> int:
    place = _place(table, field)
    return int(table.Bytes[table.Pos + place]) if place else 0


def _floats(table: Any, field: int) -> tuple[float, ...]:
    import struct

    if (place := _place(table, field)) == 0:
        return ()
    start, count = table.Vector(place), min(table.VectorLen(place), _MOST)
    return struct.unpack_from(f"<{count}f", table.Bytes, start)
