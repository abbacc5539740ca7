"""TFLite files with metadata of their images, written table by table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def with_metadata(content: bytes, mean: tuple[float, ...], std: tuple[float, ...]) -> bytes:
    """A TFLite file with a metadata buffer, written by TensorFlow's own schema."""
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = list(metadata(mean, std))
    entry = schema.MetadataT()
    entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def metadata(mean: tuple[float, ...], std: tuple[float, ...]) -> bytes:
    """ModelMetadata > SubGraphMetadata > TensorMetadata > ProcessUnit > NormalizationOptions."""
    import flatbuffers

    builder = flatbuffers.Builder(256)

    def table(**fields: Any) -> int:
        builder.StartObject(8)
        for name, value in fields.items():
            slot = int(name.removeprefix("f"))
            builder.PrependUint8Slot(slot, value[1], 0) if isinstance(value, tuple) else builder.PrependUOffsetTRelativeSlot(
                slot, value, 0
            )
        made: int = builder.EndObject()
        return made

    def vector(items: Any, size: int, add: Callable[[Any], None]) -> int:
        builder.StartVector(size, len(items), 4)
        for item in reversed(items):
            add(item)
        made: int = builder.EndVector()
        return made

    numbers = [vector(values, 4, builder.PrependFloat32) for values in (mean, std)]
    options = table(f0=numbers[0], f1=numbers[1])
    unit = table(f0=("byte", 1), f1=options)
    tensor = table(f4=vector([unit], 4, builder.PrependUOffsetTRelative))
    graph = table(f2=vector([tensor], 4, builder.PrependUOffsetTRelative))
    builder.Finish(table(f3=vector([graph], 4, builder.PrependUOffsetTRelative)), b"M001")
    return bytes(builder.Output())
