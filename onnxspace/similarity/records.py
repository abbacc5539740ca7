"""What identifies a compared model, and why one could not be compared."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelRecord:
    """One compared model: where it came from, what identifies it, and what nobody stated."""

    name: str
    path: str
    sha256: str
    encoder: str
    input: str
    opset: int
    producer: str
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """A model that could not be compared, and why."""

    path: str
    error: str
