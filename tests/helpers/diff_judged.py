"""Whether a comparison of a pair says what was done, and recognises what was not touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnxspace.differences.result import ModelDiff
from tests.helpers.diff_matrix import FORMS, Pair

#: Least share of untouched nodes that must be recognised.
LEAST = 0.95


@dataclass(frozen=True)
class Judged:
    """What is wrong with a comparison, what is missing in it, and the share of untouched nodes that are recognised."""

    wrong: tuple[str, ...]
    missing: tuple[str, ...]
    recognised: float

    @property
    def faults(self) -> tuple[str, ...]:
        return (*self.wrong, *self.missing)

    @property
    def outcome(self) -> Literal["right", "silent", "wrong"]:
        return "wrong" if self.wrong else "silent" if self.missing else "right"


def judge(pair: Pair, found: ModelDiff) -> Judged:
    """Compare what was found with what is true of the pair."""
    kinds = {change.kind for change in found.changes}
    texts = " ".join(change.text for change in found.changes)
    recognised = measure_recognised(pair, found)
    wrong = [f"the verdict is {found.verdict}"] if found.verdict != pair.verdict else []
    wrong += [f"{kind} is untrue" for kind in sorted(kinds - pair.kinds - pair.also - FORMS)]
    wrong += ["the first departure is another one"] if not is_first_right(pair, found) else []
    wrong += [f"{100 * recognised:.0f} % are recognised"] if recognised < LEAST else []
    missing = [f"no sentence has {words!r}" for words in pair.says if words not in texts]
    missing += [f"none of {', '.join(sorted(pair.kinds))}"] if not kinds & pair.kinds else []
    return Judged(tuple(wrong), tuple(missing), recognised)


def measure_recognised(pair: Pair, found: ModelDiff) -> float:
    """The share of the old file's nodes that compute, and were not touched, that neither depart nor are gone."""
    nodes = [
        (node.name, group.status)
        for group in found.groups
        for node in group.old
        if node.computes and node.name not in pair.touched
    ]
    return 1 - sum(status in ("departs", "removed") for _, status in nodes) / max(len(nodes), 1)


def is_first_right(pair: Pair, found: ModelDiff) -> bool:
    """Whether the networks depart at a touched node, where nodes of the old file were touched."""
    if pair.verdict != "differ" or not pair.touched:
        return True
    return found.first is not None and any(node.name in pair.touched for node in (*found.first.old, *found.first.new))
