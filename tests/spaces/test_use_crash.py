"""kill −9 at every step of a search by use, and two writers: the pack proposes what is in the space, and is as it was written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from onnxspace.workflows.space import Space
from tests.helpers.deaths import Deaths
from tests.helpers.use_spaces import insert_models, use_space
from tests.spaces.conftest import IN_MEMORY

#: As if six models were many, without waiting for the disk.
SETTINGS = IN_MEMORY | {
    "onnxspace.workflows.space_ranking.MOST_RANKED": 5,
    "onnxspace.workflows.space_ranking.CANDIDATES": 5,
    "onnxspace.spaces.use_index.LEAST_ROWS": 6,
    "onnxspace.spaces.packs.AT_ONCE": 2,
}


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setattr(name, value)


def search(home: Path) -> list[tuple[str, float | None]]:
    return [(one.name, one.value) for one in Space.open(home).nearest("model-4", by="use")]


def index(home: Path) -> None:
    Space.open(home).index(by="use")


#: An action, and how many steps lie between two deaths; all steps where all cases are run.
DEATHS = [
    *(pytest.param(action, 7, id=action.__name__) for action in (search, index)),
    *(pytest.param(action, 1, id=f"{action.__name__}, every step", marks=pytest.mark.exhaustive) for action in (search, index)),
]


@pytest.mark.process
@pytest.mark.parametrize(("action", "stride"), DEATHS)
def test_killed_at_every_step(tmp_path: Path, deaths: Deaths, action: Callable[[Path], object], stride: int) -> None:
    home = use_space(tmp_path / "zoo.space", [1, 2, 3, 4, 5]).path
    action(home)
    insert_models(home, [6, 7, 9, 10, 11])
    whole = Path(shutil.copytree(home, tmp_path / "whole"))
    expected = search(whole)
    deaths.rehearse(action, Path(shutil.copytree(home, tmp_path / "rehearsed")))
    for step in count(1 + len(action.__name__) % stride, stride):
        copy = Path(shutil.copytree(home, tmp_path / f"copy-{step}"))
        killed = deaths.die_at(step, action, copy)
        assert Space.open(copy).verify().problems == ()
        assert search(copy) == expected, step
        assert Space.open(copy).verify().problems == ()
        shutil.rmtree(copy)
        if not killed:
            assert step > 10
            return


@pytest.mark.process
def test_a_row_that_was_half_written_is_written_again(tmp_path: Path) -> None:
    home = use_space(tmp_path / "zoo.space", [1, 2, 3, 4, 5, 6, 7]).path
    expected = search(home)
    rows, keys = (home / name for name in ("cache.use-rows", "cache.use-keys"))
    content, known = rows.read_bytes(), keys.read_bytes()
    for left, of_keys in ((len(content) - 1, 40 * 6), (len(content) // 7 * 5, len(known)), (len(content), 40 * 3 + 7), (10, 0)):
        rows.write_bytes(content[:left])
        keys.write_bytes(known[:of_keys])
        assert search(home) == expected
        assert Space.open(home).verify().clean
        assert (rows.stat().st_size, keys.stat().st_size) == (len(content), len(known))


WRITER = """
import sys
from pathlib import Path
from onnxspace.workflows import space_ranking
from onnxspace.workflows.space import Space
from tests.helpers.deaths import Deaths
from tests.helpers.use_spaces import insert_models
space_ranking.MOST_RANKED = space_ranking.CANDIDATES = 5
for number in sys.argv[2:]:
    insert_models(Path(sys.argv[1]), [int(number)])
    assert len(Space.open(sys.argv[1]).nearest("model-4", 3, by="use")) == 3
"""


@pytest.mark.process
def test_two_writers_at_once(tmp_path: Path) -> None:
    home = use_space(tmp_path / "zoo.space", [1, 2, 3, 4, 5, 6]).path
    shares = [["11", "12", "13", "14"], ["21", "22", "13", "24"]]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(home), *numbers]) for numbers in shares]
    for _ in range(3):  # whoever compacts meanwhile takes nothing away
        Space.open(home).compact()
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = Space.open(home)
    assert len(found) == 13
    names = {name for name, _ in search(home)}
    assert found.verify().clean
    shutil.rmtree(tmp_path / "fresh", ignore_errors=True)
    fresh = use_space(tmp_path / "fresh", [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 21, 22, 24])
    assert names == {name for name, _ in search(fresh.path)}
