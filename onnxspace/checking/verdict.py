"""What follows from the measures: same or not, and the most likely reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from onnxspace.checking.measure import METRICS, Measures
from onnxspace.errors import ConfigError

SCHEMA = "onnxspace/check/1"
Outcome = Literal["same", "different", "trouble"]
#: Affinity from which on two artifacts count as copies of each other.
COPY = 0.9


@dataclass(frozen=True)
class Finding:
    """One measure against its limit; `below` where it must stay under it, as for an artifact that must not be a copy."""

    metric: str
    value: float
    limit: float
    kept: bool
    below: bool = False

    @property
    def words(self) -> str:
        sign = "below" if self.below else "at least" if METRICS[self.metric].better == "more" else "at most"
        return f"{METRICS[self.metric].words}: {self.value:.4g}, must be {sign} {self.limit:.4g}"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What was found of one artifact. `outcome` is `trouble` where it could not be compared; `error` then says why.

    `reasons` are sentences, the most likely first; `layer` names the first place where the two part; `images` are the
    positions and names of those on which they differ most, with the cosines of their maps.
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
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if not finding.kept)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "name": self.name, "path": self.path, "against": self.against, "outcome": self.outcome, "error": self.error,
            "distinct": self.distinct, "measures": dict(self.measures),
            "findings": [{**vars(finding), "words": finding.words} for finding in self.findings],
            "missing": dict(self.missing), "changes": list(self.changes), "reasons": list(self.reasons), "layer": self.layer,
            "images": [{"index": i, "name": name, "cosine": cosine} for i, name, cosine in self.images],
            "picture": self.picture, "warnings": list(self.warnings), "seconds": round(self.seconds, 3),
        }  # fmt: skip


def limits_for(said: Mapping[str, float | None]) -> dict[str, float]:
    """Limits by metric: the usual ones, and over them what was said; None takes one away. Raises ConfigError."""
    made = {name: metric.limit for name, metric in METRICS.items()}
    for name, limit in said.items():
        if name not in METRICS:
            raise ConfigError(f"There is no metric {name!r} to limit; there are {', '.join(METRICS)}.")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit)):
            raise ConfigError(f"The limit of {name} is {limit!r}, which is no number.")
        made[name] = None if limit is None else float(limit)
    return {name: limit for name, limit in made.items() if limit is not None}


def judge(measures: Measures, limits: Mapping[str, float]) -> tuple[Finding, ...]:
    """Each measure that has a limit against it."""
    return tuple(
        Finding(name, value, limits[name], value >= limits[name] if METRICS[name].better == "more" else value <= limits[name])
        for name, value in measures.values.items()
        if name in limits
    )


def judge_distinct(measures: Measures, most: float) -> tuple[Finding, ...]:
    """For an artifact that must not be a copy: its affinity must stay below."""
    value = measures.values["affinity"]
    return (Finding("affinity", value, most, value < most, below=True),)


def code_of(verdicts: Sequence[Verdict]) -> int:
    """Exit code as in `diff`: 0 all same, 1 some differ, 2 some could not be compared."""
    outcomes = {verdict.outcome for verdict in verdicts}
    return 2 if "trouble" in outcomes else 1 if "different" in outcomes else 0
