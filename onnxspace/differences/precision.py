"""Which layers should stay in float, as `sweep_precision` returns it. Free of Torch and ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from onnxspace.differences.findings import format_percent
from onnxspace.storage.data_frames import NUMBER, TEXT, make_frame
from onnxspace.storage.short_text import MOST_NAMES, count, join_lines, list_names, wrap_notes

SCHEMA = "onnxspace/precision/1"
Precision = Literal["int8", "half"]
#: Characters of a name in a sentence; the whole name is in the table as CSV or JSON.
_ROOM = 100
_WORDS = {"int8": "eight bits", "half": "half precision"}


@dataclass(frozen=True)
class PrecisionLayer:
    """A layer: its node's name and operator, the relative error `alone` of the outputs where it alone is rounded (None: not finite).

    `keep` says that it should stay in float; `stored` is the type of its weights in the other file, if one was given.
    """

    name: str
    op: str
    alone: float | None
    keep: bool
    stored: str | None = None


@dataclass(frozen=True)
class PrecisionSweep:
    """What rounding the layers of the model `name` costs, and which should stay in float.

    `layers` are in the order of the graph. Errors are |rounded − float| / |float| of the output that is furthest off: `all_rounded` with all layers
    rounded, `advised` with all but those to keep, both on images that the choice did not use; `chosen` is the second one on those that it did
    use, which is at most `within`. They are None where values are not finite. `probe` says on what they were measured, `other` names the second file.
    """

    name: str
    path: str
    precision: Precision
    within: float
    layers: tuple[PrecisionLayer, ...]
    all_rounded: float | None
    advised: float | None
    chosen: float | None
    probe: Mapping[str, Any] = field(default_factory=dict)
    other: str | None = None

    @property
    def keep(self) -> tuple[str, ...]:
        """The names of the layers that should stay in float, costliest first."""
        return tuple(layer.name for layer in self.ranked if layer.keep)

    @property
    def ranked(self) -> tuple[PrecisionLayer, ...]:
        """All layers, costliest first."""
        return tuple(sorted(self.layers, key=lambda layer: -(float("inf") if layer.alone is None else layer.alone)))

    @property
    def summary(self) -> str:
        """The advice in a sentence."""
        word = _WORDS[self.precision]
        every = "its only layer" if len(self.layers) == 1 else f"all {count(len(self.layers), 'layer')}"
        before = f"With {every} in {word}, the outputs of {self.name} differ by {_write(self.all_rounded)}"
        if not self.keep:
            return f"{before}: none has to stay in float for {format_percent(self.within)}."
        advice = f"{before}; with {count(len(self.keep), 'layer')} in float, by {_write(self.advised)}: {list_names(self.keep, room=_ROOM)}."
        if self.all_rounded is None or self.all_rounded > self.within:
            return advice
        return f"{advice} The choice is by other images, on which they differ by more than {format_percent(self.within)}."

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/precision/1`, ready for `json.dumps`.

        >>> ox.sweep_precision("net.onnx").to_dict()["keep"]  # doctest: +SKIP
        ['/head/Conv']
        """
        return {
            "schema": SCHEMA, "name": self.name, "path": self.path, "precision": self.precision, "within": self.within,
            "probe": dict(self.probe), "other": self.other, "all_rounded": self.all_rounded, "advised": self.advised,
            "chosen": self.chosen, "keep": list(self.keep), "summary": self.summary, "layers": [asdict(layer) for layer in self.layers],
        }  # fmt: skip

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per layer, in the order of the graph, and the columns `name`, `op`, `alone`, `keep`, `stored`.

        Raises MissingLibraryError where pandas is not installed.

        >>> ox.sweep_precision("net.onnx").to_dataframe().query("keep")  # doctest: +SKIP
        """
        return make_frame(_COLUMNS, [tuple(asdict(layer).values()) for layer in self.layers])

    def __repr__(self) -> str:
        heading = f"Precision of {self.name}: {count(len(self.keep), 'layer')} of {len(self.layers)} should stay in float"
        return join_lines(
            heading,
            wrap_notes([self.summary]),
            [f"{len(self.layers)} layers; .ranked lists them"] if len(self.layers) > MOST_NAMES else [],
        )


_COLUMNS = dict(zip((one.name for one in fields(PrecisionLayer)), (TEXT, TEXT, NUMBER, "bool", TEXT), strict=True))


def _write(error: float | None) -> str:
    return "values that are not finite" if error is None else format_percent(error)
