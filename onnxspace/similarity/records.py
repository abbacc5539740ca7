"""Records of the models in a comparison, and of those that could not be compared."""

from __future__ import annotations

from dataclasses import dataclass

from onnxspace.inputs.pixel_record import PixelRecord


@dataclass(frozen=True)
class ModelRecord:
    """One compared model: its file, what identifies it, and the defaults that were `assumed` because nothing stated them.

    `pixels` is its preprocessing and where that comes from; None in files and results of earlier versions.
    """

    name: str
    path: str
    sha256: str
    encoder: str
    input: str
    opset: int
    producer: str
    assumed: tuple[str, ...] = ()
    pixels: PixelRecord | None = None


@dataclass(frozen=True)
class Failure:
    """A model that could not be compared: its `path` and the `error` message."""

    path: str
    error: str
