"""What changed between two models, as `diff` returns it. Free of Torch and ONNX."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from onnxspace.storage.data_frames import NUMBER, TEXT, make_frame
from onnxspace.storage.short_text import MOST_NAMES, count_losses, join_lines, wrap_notes

SCHEMA = "onnxspace/diff/1"
#: Characters of a node's name in sentences.
MOST_NAME = 60
Status = Literal["equal", "relaid", "replaced", "departs", "downstream", "added", "removed"]
#: What became of nodes, and what that means.
STATUSES: dict[str, str] = {
    "equal": "computes the same",
    "relaid": "computes the same in another order of axes, or in another shape",
    "replaced": "other nodes compute the same from the same",
    "departs": "computes something else, or has other weights",
    "downstream": "is the same, and gets other values than before",
    "added": "is in the new file only",
    "removed": "is in the old file only",
}
Verdict = Literal["same", "rounding", "differ"]


@dataclass(frozen=True)
class Node:
    """A node of a file: its name (or its first output), its operator with its domain, and whether it computes with values of the image.

    Nodes that only move values, compute shapes or hold constants do not compute.
    """

    name: str
    op: str
    domain: str = ""
    computes: bool = False


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of both files that correspond, and what became of them (`status`, one of STATUSES).

    `error` is |new − old| / |old| of what they compute; `own_error` the part of it that they add themselves, measured with old inputs.
    `weights` says what became of their weights, as keys of `docs/json.md`. `matters` says for added and removed nodes that values differ behind
    them. `settings` has, where one node departs from another of the same operator, the attributes and small constants that differ, each with its old
    and its new value.
    """

    status: Status
    old: tuple[Node, ...]
    new: tuple[Node, ...]
    error: float | None = None
    own_error: float | None = None
    weights: Mapping[str, Any] | None = None
    matters: bool = False
    settings: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class LayerRow:
    """A tensor of both networks, and how far its values are apart over all probe images.

    Shapes are those of one image; errors are |new − old| at most, and |new − old| / |old| over all values. `snr_db` is the
    ratio of old values to differences in decibels, None where there is none. `half_overflow` and `half_underflow` are the shares of old
    values that half precision can't hold or takes for 0; `int8_saturated` is that of new values beyond the largest old one, which is
    where integers of eight bits with one symmetric scale end.
    """

    place: int
    old: str
    new: str
    old_op: str
    new_op: str
    status: Status
    old_shape: tuple[int, ...]
    new_shape: tuple[int, ...]
    old_type: str
    new_type: str
    max_error: float | None = None
    relative_error: float | None = None
    own_error: float | None = None
    cosine: float | None = None
    snr_db: float | None = None
    old_range: tuple[float, float] | None = None
    new_range: tuple[float, float] | None = None
    half_overflow: float | None = None
    half_underflow: float | None = None
    int8_saturated: float | None = None


#: Columns of the table, in the order of its CSV, and the types in a data frame of those that are no numbers.
COLUMNS = tuple(each.name for each in fields(LayerRow))
_KINDS = {"place": "int64"} | dict.fromkeys(
    ("old", "new", "old_op", "new_op", "status", "old_shape", "new_shape", "old_type", "new_type", "old_range", "new_range"),
    TEXT,
)


@dataclass(frozen=True)
class InputSizes:
    """An input of a file: its name and its sizes, None where they are open."""

    name: str
    sizes: tuple[int | None, ...]


@dataclass(frozen=True)
class DiffModel:
    """A model that was compared: what its file says, its nodes, its parameters, the types of its weights by the number of layers, and its inputs."""

    name: str
    path: str
    sha256: str
    producer: str
    opset: int
    nodes: int
    computing: int
    parameters: int
    types: Mapping[str, int]
    inputs: tuple[InputSizes, ...] = ()


@dataclass(frozen=True)
class OutputRow:
    """An output of both files, None where one has it only.

    Errors are None where shapes differ or values are not finite, of which `old_bad` and `new_bad` are the shares. `step` is that between two
    integers for which its values stand, the larger one of both files, None where neither has integers.
    """

    old: str | None
    new: str | None
    max_error: float | None = None
    relative_error: float | None = None
    permuted: bool = False
    old_shape: tuple[int, ...] = ()
    new_shape: tuple[int, ...] = ()
    old_bad: float = 0.0
    new_bad: float = 0.0
    step: float | None = None


@dataclass(frozen=True)
class Change:
    """Something that was done to the old model: its kind, a sentence, and the nodes of the new file (of the old one, if removed) it shows at."""

    kind: str
    text: str
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeDetails:
    """What a page shows of a node: the modules it is in (None: unknown), its attributes in words, shape and type of its output for one image.

    `reads` are the places of the nodes whose values it reads; `moves_data` says whether values of the image pass through it, as they do
    not through constants and shapes.
    """

    module: tuple[str, ...] | None
    attributes: tuple[tuple[str, str], ...]
    shape: tuple[int, ...] | None
    dtype: str
    reads: tuple[int, ...]
    moves_data: bool


@dataclass(frozen=True)
class GraphDetails:
    """Both graphs node by node, for a page: `places` has, for each group, the places of its nodes in the old and the new graph.

    `image_errors` are the largest relative errors of the outputs of each image, None where one is not finite.
    """

    old: tuple[NodeDetails, ...]
    new: tuple[NodeDetails, ...]
    places: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    image_errors: tuple[float | None, ...]


@dataclass(frozen=True)
class ModelDiff:
    """What changed from the model `old` to `new`.

    `verdict` is `same`, `rounding` (the same network in lower precision) or `differ`; `changes` are sentences on what was done, `first`
    is the group that departs first, None where none does. `groups` has every node of both files once, in the order of the new
    graph; `layers` is the table of all tensors that correspond. `probe` says on what they were compared. `details` is what only the page
    shows, and is not in the JSON.
    """

    old: DiffModel
    new: DiffModel
    verdict: Verdict
    summary: str
    changes: tuple[Change, ...]
    first: NodeGroup | None
    groups: tuple[NodeGroup, ...]
    layers: tuple[LayerRow, ...]
    outputs: tuple[OutputRow, ...]
    probe: Mapping[str, Any]
    warnings: tuple[str, ...] = field(default=())
    details: GraphDetails | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        texts = [change.text for change in self.changes]
        rest = [f"and {len(texts) - MOST_NAMES} more"] if len(texts) > MOST_NAMES else []
        heading = f"Changes from {self.old.name} to {self.new.name}: {self.verdict}"
        return join_lines(heading, wrap_notes([self.summary, *texts[:MOST_NAMES]]), rest, count_losses([], self.warnings))

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of nodes of either file by what became of them."""
        sides: dict[str, Counter[str]] = {"old": Counter(), "new": Counter()}
        for group in self.groups:
            sides["old"][group.status] += len(group.old)
            sides["new"][group.status] += len(group.new)
        return {side: {status: found[status] for status in STATUSES} for side, found in sides.items()}

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per layer and the columns of the table, in the order of the new graph.

        Shapes and ranges are tuples; numbers that are not defined are NaN. Raises MissingLibraryError where pandas is not installed.

        >>> ox.diff("old.onnx", "new.onnx").to_dataframe().nlargest(5, "own_error")  # doctest: +SKIP
        """
        rows = [tuple(getattr(row, name) for name in COLUMNS) for row in self.layers]
        return make_frame({name: _KINDS.get(name, NUMBER) for name in COLUMNS}, rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of schema `onnxspace/diff/1`, ready for `json.dumps`.

        >>> ox.diff("old.onnx", "new.onnx").to_dict()["verdict"]  # doctest: +SKIP
        'same'
        """
        return {
            "schema": SCHEMA, "old": asdict(self.old), "new": asdict(self.new), "probe": dict(self.probe),
            "verdict": self.verdict, "summary": self.summary, "changes": [asdict(one) for one in self.changes],
            "first": None if self.first is None else asdict(self.first), "counts": self.counts,
            "groups": [asdict(group) for group in self.groups], "layers": [asdict(row) for row in self.layers],
            "outputs": [asdict(row) for row in self.outputs], "warnings": list(self.warnings),
        }  # fmt: skip
