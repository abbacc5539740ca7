"""How far a ranking can be relied on: what the first source of such rankings lost on zoos whose transfers were measured.

`MEASURED` is data: a row per zoo, evidence and score. Values are means over a zoo's targets, in points of accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

#: What a ranking knows of the target's task: nothing, its pictures, labels of them, true fine-tuning, or earlier results.
Evidence = Literal["none", "pictures", "labels", "finetuned", "known"]


@dataclass(frozen=True)
class Measurement:
    """One study: on the `zoo`, the first source lost `regret` points against the best, a random one `random`.

    The truth was that of `transfer`: readouts of frozen networks, or fine-tuning. `tau` is the mean Kendall correlation with it.
    """

    zoo: str
    transfer: Literal["frozen", "finetuned"]
    regret: float
    random: float
    tau: float


#: By evidence and the score that ranks. A pair without a row has not been measured.
MEASURED: Mapping[tuple[Evidence, str], Sequence[Measurement]] = {}
_UNMEASURED = "How far such a ranking can be relied on has not been measured."
_NOTHING = "It says which models are alike, not which one to start from."


def find_evidence(probes: str) -> Evidence:
    """Return what a ranking on the probe set named `probes` knows of the task: `none` where its images are generated.

    >>> find_evidence("generated-0"), find_evidence("photos")
    ('none', 'pictures')
    """
    from onnxspace.inputs.protocol import GENERATED

    return "none" if GENERATED.fullmatch(probes) else "pictures"


def describe_reliability(
    evidence: Evidence, by: str, measured: Mapping[tuple[Evidence, str], Sequence[Measurement]] | None = None
) -> str:
    """Return a sentence on the measured reliability of rankings by the score `by` with this `evidence`.

    `measured` replaces the table (None: `MEASURED`); several zoos are averaged.

    >>> describe_reliability("pictures", "cka", {("pictures", "cka"): [Measurement("a", "frozen", 5.0, 16.0, 0.4)]})
    'On zoos with known readouts of frozen networks, the first of such a ranking lost 5 points of accuracy on average; a random choice 16.'
    """
    rows = (MEASURED if measured is None else measured).get((evidence, by), ())
    if not rows:
        return _NOTHING if evidence == "none" else _UNMEASURED
    regret, random = (sum(getattr(row, name) for row in rows) / len(rows) for name in ("regret", "random"))
    zoos = {"frozen": "zoos with known readouts of frozen networks", "finetuned": "zoos with known fine-tuning"}[
        rows[0].transfer
    ]
    lost = f"lost {regret:.2g} points of accuracy on average; a random choice {random:.2g}."
    return f"On {zoos}, the first of such a {'list' if evidence == 'none' else 'ranking'} {lost}"
