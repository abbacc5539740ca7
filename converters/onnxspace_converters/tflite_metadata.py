"""Read how images are normalised from the metadata of a TFLite file, a FlatBuffers table of its own.

Fields by their number in TensorFlow's published schema (metadata_schema.fbs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NAME = b"TFLITE_METADATA"
_NORMALIZATION = 1  # its number among the kinds of processing
_MOST = 16  # entries of any list that are looked at


def read_normalization(content: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and standard deviation of the first input, (pixel − mean) / std with pixels in 0–255; None where there is none."""
    import struct

    try:
        found = _find_metadata(content)
        return None if found is None else _parse_normalization(found)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError):  # damaged metadata counts as none
        return None


def _find_metadata(content: bytes) -> bytes | None:
    from tf2onnx.tflite.Model import Model

    model = Model.GetRootAsModel(bytearray(content), 0)
    for k in range(model.MetadataLength()):
        entry = model.Metadata(k)
        if entry.Name() == _NAME and not model.Buffers(entry.Buffer()).DataIsNone():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def _parse_normalization(content: bytes) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    for graph in _read_tables(_root_table(content), 3):
        for tensor in list(_read_tables(graph, 2))[:1]:
            for unit in _read_tables(tensor, 4):
                if _read_byte(unit, 0) == _NORMALIZATION and (options := _read_table(unit, 1)) is not None:
                    mean, std = _read_floats(options, 0), _read_floats(options, 1)
                    return (mean, std) if mean and std and all(std) else None
    return None


def _root_table(content: bytes) -> Any:
    from flatbuffers import encode, number_types, packer
    from flatbuffers.table import Table

    start = encode.Get(packer.uoffset, content, 0)
    return Table(bytearray(content), number_types.UOffsetTFlags.py_type(start))


def _field_offset(table: Any, field: int) -> int:
    return int(table.Offset(4 + 2 * field))


def _read_tables(table: Any, field: int) -> Iterator[Any]:
    """The tables of a list."""
    from flatbuffers.table import Table

    if (place := _field_offset(table, field)) == 0:
        return
    start = table.Vector(place)
    for k in range(min(table.VectorLen(place), _MOST)):
        yield Table(table.Bytes, table.Indirect(start + 4 * k))


def _read_table(table: Any, field: int) -> Any:
    from flatbuffers.table import Table

    place = _field_offset(table, field)
    return Table(table.Bytes, table.Indirect(table.Pos + place)) if place else None


def _read_byte(table: Any, field: int) -> int:
    place = _field_offset(table, field)
    return int(table.Bytes[table.Pos + place]) if place else 0


def _read_floats(table: Any, field: int) -> tuple[float, ...]:
    import struct

    if (place := _field_offset(table, field)) == 0:
        return ()
    start, count = table.Vector(place), min(table.VectorLen(place), _MOST)
    return struct.unpack_from(f"<{count}f", table.Bytes, start)
