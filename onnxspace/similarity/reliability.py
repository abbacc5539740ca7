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


#: By evidence and the score that ranks (for fine-tuning, what was learned). A pair without a row has not been measured.
MEASURED: Mapping[tuple[Evidence, str], Sequence[Measurement]] = {
    ("pictures", "mean_rank"): (Measurement("realzoo", "frozen", 1.5, 15.1, 0.59),),
    ("pictures", "knn_agreement"): (Measurement("realzoo", "frozen", 2.2, 15.1, 0.46),),
    ("pictures", "probability_predictivity"): (Measurement("realzoo", "frozen", 1.9, 15.1, 0.60),),
    ("pictures", "predictivity"): (Measurement("realzoo", "frozen", 1.7, 15.1, 0.60),),
    ("pictures", "dds"): (Measurement("realzoo", "frozen", 4.4, 15.1, 0.40),),
    ("pictures", "cka"): (Measurement("realzoo", "frozen", 4.2, 15.1, 0.33),),
    ("pictures", "rsa"): (Measurement("realzoo", "frozen", 5.1, 15.1, 0.34),),
    ("labels", "mean_rank(knn, linear_probe, logme)"): (Measurement("realzoo", "frozen", 1.3, 15.1, 0.58),),
    ("labels", "knn"): (Measurement("realzoo", "frozen", 2.7, 15.1, 0.41),),
    ("labels", "linear_probe"): (Measurement("realzoo", "frozen", 1.6, 15.1, 0.57),),
    ("labels", "logme"): (Measurement("realzoo", "frozen", 1.4, 15.1, 0.51),),
    ("labels", "sfda"): (Measurement("realzoo", "frozen", 7.9, 15.1, 0.29),),
    ("labels", "h_score"): (Measurement("realzoo", "frozen", 4.3, 15.1, 0.39),),
    ("finetuned", "labels"): (Measurement("realzoo", "finetuned", 1.0, 12.9, 0.56),),
    ("finetuned", "answers"): (Measurement("realzoo", "finetuned", 2.1, 12.9, 0.56),),
    ("none", "attribution"): (Measurement("realzoo", "frozen", 17.3, 15.1, -0.03),),
    ("none", "predictivity"): (Measurement("realzoo", "frozen", 9.4, 15.1, 0.20),),
    ("none", "dds"): (Measurement("realzoo", "frozen", 11.4, 15.1, 0.12),),
}
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
    sentence = f"On {zoos}, the first of such a {'list' if evidence == 'none' else 'ranking'} {lost}"
    return f"{_NOTHING} {sentence}" if evidence == "none" else sentence
