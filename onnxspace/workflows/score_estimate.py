"""What a comparison would take: every model is measured on a few of the images, twice, and a line through both gives the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxspace.similarity.records import Failure


@dataclass(frozen=True)
class Line:
    """A quantity that grows with the number of images, measured at two numbers: `first` and `second` are (images, value)."""

    first: tuple[int, float]
    second: tuple[int, float]

    def __call__(self, images: int) -> float:
        """The value for so many images, not less than the larger one that was measured if these are more."""
        (few, low), (many, high) = self.first, self.second
        slope = max(0.0, (high - low) / (many - few)) if many > few else 0.0
        return high + slope * (images - many)

    @property
    def start(self) -> float:
        """The value without images."""
        return max(0.0, self(0))


@dataclass(frozen=True)
class ModelEstimate:
    """What one model takes: `seconds`, peak `memory` of its worker in bytes, and bytes of its files, `disk`."""

    name: str
    path: str
    seconds: float
    memory: int
    disk: int
    conversion: float = 0.0


@dataclass(frozen=True)
class ScoreEstimate:
    """What a comparison takes: `seconds` in all, with `opening` (start and opening of all models) and `comparing` (scores).

    `memory` is that of all processes together at its peak, in bytes, `parent` that of the one that compares; `disk` the bytes of
    files, `kept` the folder in which maps stay (None: all files are temporary). `probe` describes the images of maps, `pictures` those
    of features (None: the same); `sample` are the numbers of images that were measured, which took `measured` seconds.
    """

    method: str
    probe: Mapping[str, Any]
    pictures: Mapping[str, Any] | None
    models: tuple[ModelEstimate, ...]
    failed: tuple[Failure, ...]
    opening: float
    comparing: float
    parent: int
    pipelined: bool
    kept: str | None
    sample: tuple[int, ...]
    measured: float

    @property
    def seconds(self) -> float:
        """Seconds in all; with a pipeline, a model is converted while the one before it is explained."""
        hidden = zip(self.models, self.models[1:], strict=False) if self.pipelined else ()
        saved = sum(min(later.conversion, earlier.seconds - earlier.conversion) for earlier, later in hidden)
        return self.opening + self.comparing + sum(one.seconds for one in self.models) - saved

    @property
    def memory(self) -> int:
        """Bytes at the peak: of this process, and of the worker, or of the two of a pipeline."""
        largest = sorted((one.memory for one in self.models), reverse=True)
        return self.parent + sum(largest[: 2 if self.pipelined else 1])

    @property
    def disk(self) -> int:
        """Bytes of all files."""
        return sum(one.disk for one in self.models)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON (schema onnxspace/score-estimate/1)."""
        pictures = {} if self.pictures is None else {"pictures": dict(self.pictures)}
        return {
            "schema": "onnxspace/score-estimate/1", "method": self.method, "probe": dict(self.probe), **pictures,
            "models": [
                {"name": one.name, "path": one.path, "seconds": one.seconds, "memory": one.memory, "disk": one.disk}
                for one in self.models
            ],
            "failed": [{"path": one.path, "error": one.error} for one in self.failed],
            "opening": self.opening, "comparing": self.comparing, "seconds": self.seconds, "memory": self.memory, "disk": self.disk,
            "kept": self.kept, "sample": list(self.sample), "measured": self.measured,
        }  # fmt: skip
