"""Features and outputs in little in a space: kept, checked, moved with their sheet, and absent from spaces of maps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import SpaceError
from onnxspace.spaces.layout import read_reduced, reduced_path
from onnxspace.workflows.space import Space
from tests.helpers.spaces import insert, insert_many, probes, reduced, space


def held(opened: Space) -> dict[str, list[int]]:
    """The first levels of each model's features, by name."""
    found = {entry.name: read_reduced(opened.path, entry, opened.protocol) for entry in opened.entries()}
    return {name: one.levels.ravel()[:20].tolist() for name, one in found.items() if one is not None and one.levels is not None}


def expected(*numbers: int) -> dict[str, list[int]]:
    return {f"model-{n}": reduced(n).levels.ravel()[:20].tolist() for n in numbers}  # type: ignore[union-attr]


@pytest.fixture
def opened(tmp_path: Path) -> Space:
    made = space(tmp_path / "zoo.space")
    insert(made.path, 1)
    insert_many(made.path, [2, 3, 4])
    return made


def test_each_model_has_its_own(opened: Space) -> None:
    assert held(opened) == expected(1, 2, 3, 4)
    assert opened.verify().clean


def test_a_removed_model_leaves_the_others(opened: Space) -> None:
    opened.remove("model-3")
    opened.remove("model-1")
    opened.compact()
    assert held(opened) == expected(2, 4)
    assert opened.verify().clean
    assert len(list((opened.path / "reduced").iterdir())) == 1


def test_a_model_that_comes_with_maps_replaces_its_fingerprint(opened: Space) -> None:
    insert(opened.path, 2)
    opened.compact()
    assert held(opened) == expected(1, 2, 3, 4)
    assert opened.verify().clean


@pytest.mark.parametrize("change", ["byte", "short", "gone"])
def test_damage_is_named(opened: Space, change: str) -> None:
    entry = opened.entries()[2]
    path = reduced_path(opened.path, entry.stem)
    content = bytearray(path.read_bytes())
    content[-300 if change == "byte" else 0] ^= 255
    path.unlink() if change == "gone" else path.write_bytes(content if change == "byte" else content[:-800])
    problems = opened.verify().problems
    assert problems
    kinds = {"byte": {"damaged"}, "short": {"damaged", "truncated"}, "gone": {"missing"}}
    assert {problem.kind for problem in problems} == kinds[change]
    assert all(f"Remove {problem.model} from the space and add it again." in problem.text for problem in problems)
    assert change != "short" or "bytes instead of" in problems[-1].text
    with pytest.raises(SpaceError, match="reduced"):
        held(opened)


def test_spaces_of_maps_are_of_format_1(tmp_path: Path) -> None:
    for detail, number in (("maps", 1), ("images", 2), ("pictures", 2)):
        made = Space.create(tmp_path / detail, probes(), detail=detail)  # type: ignore[arg-type]
        with sqlite3.connect(made.path / "catalogue.sqlite") as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (number,)
        assert Space.open(made.path).protocol.detail == detail
        assert not made.ranks_by_use or np.array_equal(made.probes().images, probes().images)


def test_a_space_that_was_made_before_is_one_of_maps(tmp_path: Path) -> None:
    """Its protocol has no detail, and its models nothing beside maps."""
    import hashlib
    import json

    made = Space.create(tmp_path / "old", probes(), detail="maps")
    with sqlite3.connect(made.path / "catalogue.sqlite") as connection:
        facts = json.loads(connection.execute("SELECT facts FROM space").fetchone()[0])
        del facts["detail"]
        text = json.dumps(facts, sort_keys=True)
        connection.execute("UPDATE space SET facts = ?, sum = ?", (text, hashlib.sha256(text.encode() + b"\0").hexdigest()))
    assert Space.open(made.path).protocol.detail == "maps"
    assert not Space.open(made.path).ranks_by_use
