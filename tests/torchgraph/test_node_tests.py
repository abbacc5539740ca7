"""All backend tests of the `onnx` package: what passed stays passed, what is refused has a reason, and nothing is wrong.

`backend_known.tsv` lists every test with its outcome and, where it is refused, why. Make it again with
`python -m tests.helpers.backend --write` after a converter was added; the diff shows what was won, and must show nothing lost.
"""

from __future__ import annotations

import warnings
from collections import Counter

import pytest

from tests.helpers.backend import KINDS, KNOWN, cases, outcome, read_known

LISTED = read_known()


def test_the_list_is_complete_and_gives_reasons() -> None:
    count = Counter(result for result, _ in LISTED.values())
    assert count["passed"] >= 1600
    assert count["wrong"] == 0
    assert sum(count.values()) >= 2024
    for name, (result, reason) in LISTED.items():
        assert result != "refused" or reason, f"{name} in {KNOWN.name}"


#: Of single nodes, every twelfth here, and all in a stage of their own.
SHARES = [
    *((kind, 12 if kind == "node" else 1) for kind in KINDS),
    pytest.param("node", 1, marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize(("kind", "every"), SHARES)
def test_nothing_is_lost_and_nothing_is_wrong(kind: str, every: int) -> None:
    """Tests that a later `onnx` adds are not in the list: they may be refused, but not be wrong."""
    seen, lost, wrong = 0, [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in cases((kind,), every=every):
            result, reason = outcome(case)
            seen += 1
            if result == "wrong":
                wrong.append(f"{case.name}: {reason}")
            elif result == "refused" and LISTED.get(case.name, ("refused", ""))[0] == "passed":
                lost.append(f"{case.name}: {reason}")
    assert seen > 0
    assert wrong == []
    assert lost == []
