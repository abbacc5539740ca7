"""Pairs whose difference is known by construction: what was done is said, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.diff_direct import compare_directly
from tests.helpers.diff_judged import judge
from tests.helpers.diff_matrix import PAIRS


@pytest.mark.parametrize("name", PAIRS)
def test_what_was_done_is_said(name: str, tmp_path: Path) -> None:
    old, new = PAIRS[name].make(tmp_path)
    found = compare_directly(old, new, tmp_path)
    assert judge(PAIRS[name], found).faults == (), (found.summary, found.changes)
