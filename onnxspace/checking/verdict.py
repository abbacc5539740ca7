"""Verdicts: whether the metrics of an artifact are within their limits, and the most likely reasons if not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onnxspace.checking.measure import MAPS_ONLY, METRICS, NOT_FINITE, Measures
from onnxspace.errors import ConfigError
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.storage.data_frames import FLAG, NUMBER, TEXT, make_frame
from onnxspace.storage.short_text import count_losses, join_lines, list_names, wrap_notes

SCHEMA = "onnxspace/check/1"
_COLUMNS = {
    "name": TEXT, "against": TEXT, "outcome": TEXT, "metric": TEXT, "value": NUMBER, "limit": NUMBER, "kept": FLAG, "below": FLAG,
    "low": NUMBER, "high": NUMBER,
}  # fmt: skip
Outcome = Literal["same", "different", "trouble"]
#: Affinity from which on an artifact counts as a copy of another.
COPY = 0.9


@dataclass(frozen=True)
class Finding:
    """A metric's value against its limit, and whether it is `kept`.

    `below` says that the value must stay below the limit, as that of an artifact that must not be a copy. `low` and `high` are
    the ends of the 95 % interval over images where the limit lies within it, else None.
    """

    metric: str
    value: float
    limit: float
    kept: bool
    below: bool = False
    low: float | None = None
    high: float | None = None

    @property
    def words(self) -> str:
        sign = "below" if self.below else "at least" if METRICS[self.metric].better == "more" else "at most"
        value, limit = distinguish(self.value, self.limit)
        near = "" if self.low is None or self.high is None else f" (on other images {self.low:.4g} to {self.high:.4g})"
        return f"{METRICS[self.metric].words}: {value}, must be {sign} {limit}{near}"


def distinguish(value: float, limit: float) -> tuple[str, str]:
    """Both numbers with four digits, or as many as show that they differ.

    >>> distinguish(0.97999, 0.98)
    ('0.97999', '0.98')
    """
    digits = next((n for n in range(4, 17) if f"{value:.{n}g}" != f"{limit:.{n}g}"), 4) if value != limit else 4
    return f"{value:.{digits}g}", f"{limit:.{digits}g}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """The result of checking one artifact. `outcome` is `trouble` where it could not be compared; `error` then says why.

    `measures` are metrics by name, `findings` those with a limit, `missing` says why others have no value. `changes` are
    sentences on the files, `reasons` on the difference, the most likely first; `layer` describes the first different layer;
    `images` are index and name of the images whose maps differ most, and the cosine of these maps, `picture` the file in which they are
    drawn; `page` is that of `diff` on both graphs. `seconds` is the time taken.
    """

    name: str
    path: str
    against: str
    outcome: Outcome
    error: str | None = None
    distinct: bool = False
    measures: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    layer: str | None = None
    images: tuple[tuple[int, str, float], ...] = ()
    picture: str | None = None
    page: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.kept)

    def __repr__(self) -> str:
        heading = f"{self.name} against {self.against}: {self.outcome}"
        missing = [f"Not measured: {list_names([*self.missing], len(METRICS))}"] if self.missing else []
        broken = [finding.words for finding in self.failed]
        lines = [*([self.error] if self.error else []), *broken, *self.reasons, *([] if self.error else missing)]
        return join_lines(heading, wrap_notes(lines), count_losses([], self.warnings))

    def _repr_html_(self) -> str:
        """The metrics that have a limit as a table, and the reasons, for notebooks."""
        from onnxspace.similarity.html import render_notes, render_table

        rows = [
            (METRICS[one.metric].words, f"{one.value:.4g}", f"{one.limit:.4g}", "ok" if one.kept else "no")
            for one in self.findings
        ]
        table = render_table(f"{self.name} against {self.against}: {self.outcome}", ("", "value", "limit", "within"), rows)
        return table + render_notes(self.error or "", *self.reasons, *self.warnings)

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row per metric.

        Columns are `name` and `against`, `outcome` (of all metrics), `metric`, `value`, `limit`, `kept` (whether the value is within the
        limit), `below` (whether it must stay below), and the interval over images from `low` to `high` where the limit lies in it. Those
        from `limit` on are missing for a metric without a limit. Frames of several verdicts can be joined with `pandas.concat`. Raises
        MissingLibraryError where pandas is not installed.

        >>> check(plan)[0].to_dataframe().query("kept == False")  # doctest: +SKIP
        """
        found = {one.metric: (one.limit, one.kept, one.below, one.low, one.high) for one in self.findings}
        names = (self.name, self.against, self.outcome)
        none = (None,) * 5
        return make_frame(
            _COLUMNS, [(*names, metric, value, *found.get(metric, none)) for metric, value in self.measures.items()]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as an object for `json.dumps`.

        >>> check(plan)[0].to_dict()["outcome"]  # doctest: +SKIP
        'same'
        """
        return {
            "name": self.name, "path": self.path, "against": self.against, "outcome": self.outcome, "error": self.error,
            "distinct": self.distinct, "measures": dict(self.measures),
            "findings": [{**vars(finding), "words": finding.words} for finding in self.findings],
            "missing": dict(self.missing), "changes": list(self.changes), "reasons": list(self.reasons), "layer": self.layer,
            "images": [{"index": i, "name": name, "cosine": cosine} for i, name, cosine in self.images],
            "picture": self.picture, "page": self.page, "warnings": list(self.warnings), "seconds": round(self.seconds, 3),
        }  # fmt: skip


def limits_for(changes: Mapping[str, float | None], where: str = "--limit") -> dict[str, float]:
    """Limits by metric: the defaults, replaced by those in `changes`, where None removes one.

    `where` is where they are stated. Raises ConfigError.
    """
    made = {name: metric.limit for name, metric in METRICS.items()}
    for name, limit in changes.items():
        if name not in METRICS:
            raise ConfigError(f"{where}: {describe_unknown('metric', name, METRICS)}")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit)):
            raise ConfigError(f"{where}: the limit of {name} is {limit!r}, but must be a number.")
        made[name] = None if limit is None else float(limit)
    if made["output_cosine"] is None and "outputs" not in changes:
        made["outputs"] = None  # outputs that may differ in value may also be others
    return {name: limit for name, limit in made.items() if limit is not None}


def judge(measures: Measures, limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Compare each metric with its limit; those without one are left out."""
    return tuple(
        _judge_one(name, value, limits[name], measures) for name, value in measures.values.items() if name in limits
    )  # fmt: skip


def _judge_one(name: str, value: float, limit: float, measures: Measures) -> Finding:
    kept = value >= limit if METRICS[name].better == "more" else value <= limit
    return Finding(name, value, limit, kept, False, *_interval_around(name, limit, measures))


def judge_distinct(measures: Measures, most: float) -> tuple[Finding, ...]:
    """The finding for an artifact that must not be a copy: its affinity must stay below `most`."""
    value = measures.values["affinity"]
    return (Finding("affinity", value, most, value < most, True, *_interval_around("affinity", most, measures)),)


def _interval_around(name: str, limit: float, measures: Measures) -> tuple[float, float] | tuple[None, None]:
    """The metric's interval over images if the limit lies within it."""
    low, high = measures.intervals.get(name, (limit, limit))
    return (low, high) if low < limit < high else (None, None)


def find_unmeasured(
    measures: Measures, limits: Mapping[str, float], given: Collection[str], *, complete: bool
) -> dict[str, str]:
    """Limits that have no value although they must, with the reasons.

    These are limits that somebody set (`given`), those of metrics that are not finite, and, for a baseline that should be
    `complete`, default limits of what it does not hold.
    """
    return {
        name: reason
        for name, reason in measures.missing.items()
        if name in limits and (name in given or reason == NOT_FINITE or (complete and reason == MAPS_ONLY))
    }


def exit_code_of(verdicts: Sequence[Verdict]) -> int:
    """The exit code, as that of `diff`: 0 all are the same, 1 some differ, 2 some could not be compared."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return 2 if "trouble" in outcomes else 1 if "different" in outcomes else 0
