"""kill −9 at every step, and two writers: what was committed stays, and nothing unknown is left behind."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from onnxspace.spaces.complete import Offer, complete_models
from onnxspace.spaces.merge import fingerprint_of
from onnxspace.workflows.space import Space
from tests.helpers.deaths import Deaths
from tests.helpers.spaces import insert, insert_many, probes, space, with_answers
from tests.spaces.conftest import IN_MEMORY

SETTINGS = IN_MEMORY

pytestmark = pytest.mark.usefixtures("in_memory")


def add(home: Path) -> None:
    insert(home, 3)


def upgrade(home: Path) -> None:
    insert(home, 4, whole=False)
    insert(home, 4)


def bulk(home: Path) -> None:
    insert_many(home, [3, 2, 4])


def remove(home: Path) -> None:
    Space.open(home).remove("model-1")


def remove_all_of_a_sheet(home: Path) -> None:
    for number in (6, 7):
        Space.open(home).remove(f"model-{number}")


def index(home: Path) -> None:
    Space.open(home).index()


def seek(home: Path) -> None:
    Space.open(home).nearest("model-1")


def label(home: Path) -> None:
    Space.open(home).tag(["model-1", "model-2"], ["team=vision", "kept"])
    Space.open(home).tag("model-2", "detector", license="mit")


def complete(home: Path) -> None:
    """A model without maps, and one with."""
    opened = Space.open(home)
    insert_many(home, [6])
    for number in (1, 6):
        entry = next(entry for entry in opened.entries() if entry.name == f"model-{number}")
        one = fingerprint_of(home, opened.protocol, entry)
        complete_models(home, opened.protocol, [Offer(entry, one.prints, with_answers(number))])


def add_a_set(home: Path) -> None:
    found = Space.open(home).add_set("other", probes(seed=1), "pictures")
    insert(found.path, 1)


def compact(home: Path) -> None:
    Space.open(home).compact()


ACTIONS: dict[str, tuple[Callable[[Path], None], set[str]]] = {
    "add": (add, {"model-1", "model-2"}),
    "bulk": (bulk, {"model-1", "model-2"}),
    "upgrade": (upgrade, {"model-1", "model-2"}),
    "remove": (remove, {"model-2"}),
    "label": (label, {"model-1", "model-2"}),
    "complete": (complete, {"model-1", "model-2"}),
    "add a set": (add_a_set, {"model-1", "model-2"}),
    "nearest": (seek, {"model-1", "model-2"}),
    "compact": (compact, {"model-1", "model-2"}),
    "remove a sheet": (remove_all_of_a_sheet, {"model-1", "model-2"}),
    "rewrite a sheet": (compact, {"model-1", "model-2", "model-7"}),
    "index": (index, {"model-1", "model-2", "model-6", "model-7"}),
}


#: Name of an action, and how many steps lie between two deaths: adding dies at every second, others at every sixth, and at each
#: where all cases are run.
DEATHS = [
    *(pytest.param(name, 2 if name == "add" else 6, id=name) for name in ACTIONS),
    *(pytest.param(name, 1, id=f"{name}, every step", marks=pytest.mark.exhaustive) for name in ACTIONS),
]


@pytest.mark.process
@pytest.mark.parametrize(("name", "stride"), DEATHS)
def test_killed_at_every_step(tmp_path: Path, home: Path, deaths: Deaths, name: str, stride: int) -> None:
    action, safe = ACTIONS[name]
    expected = Space.open(home).affinity().matrix
    if name == "compact":  # something to do: a leftover, an abandoned workbench, an unknown file
        for step in (12, 16, 20, 24):
            deaths.die_at(step, insert, home, 5)
        assert len(Space.open(home).verify().leftovers) > 2
        shutil.copy(next((home / "maps").iterdir()), home / "maps/0123456789ab.npy")
        action(copy := Path(shutil.copytree(home, tmp_path / "whole")))
        assert not Space.open(copy).verify().leftovers
    if name == "index":  # which grows
        index(home)
    if "sheet" in name or name == "index":
        insert_many(home, [6, 7])
    if name == "rewrite a sheet":
        Space.open(home).remove("model-6")
    deaths.rehearse(action, Path(shutil.copytree(home, tmp_path / "rehearsed")))
    for step in count(1 + len(name) % stride, stride):
        copy = Path(shutil.copytree(home, tmp_path / f"{name}-{step}"))
        killed = deaths.die_at(step, action, copy)
        opened = Space.open(copy)
        found = opened.verify()
        assert {near.name for near in opened.nearest("model-2")} == set(opened.names) - {"model-2"}
        assert {problem.kind for problem in found.problems} <= ({"unreferenced"} if name == "compact" else set()), step
        assert (
            safe
            <= set(opened.names)
            <= safe
            | {"model-1", "model-3", "model-4", *(["model-6", "model-7"] if "sheet" in name or name == "complete" else [])}
        )
        assert name != "bulk" or len(opened) in (2, 4)
        labels = [entry.labels for entry in opened.entries()]
        assert name != "label" or len({one.tags for one in labels} - {("detector", "team=vision", "kept")}) == 1, step
        insert(copy, 3)
        opened.compact()
        found = opened.verify()
        assert (found.problems, found.leftovers) == ((), ()), step
        assert not (copy / "work").exists()
        if {"model-1", "model-2"} <= set(opened.names):
            assert opened.affinity().matrix[0, 1] == pytest.approx(expected[0, 1], abs=1e-6)
        shutil.rmtree(copy)
        if not killed:
            assert step > 10
            return


@pytest.mark.process
def test_killed_while_it_is_made(tmp_path: Path, deaths: Deaths) -> None:
    deaths.rehearse(space, tmp_path / "rehearsed.space")
    for step in count(1):
        place = tmp_path / f"{step}.space"
        killed = deaths.die_at(step, space, place)
        if not (place / "catalogue.sqlite").exists():
            space(place)
        assert Space.open(place).verify().clean
        assert not [path for path in place.iterdir() if path.name.startswith(".new")]
        if not killed:
            return


WRITER = "import sys; from pathlib import Path; from tests.helpers.spaces import insert; [insert(Path(sys.argv[1]), int(n)) for n in sys.argv[2:]]"


@pytest.mark.process
def test_two_writers_at_once(tmp_path: Path) -> None:
    home = space(tmp_path / "zoo.space").path
    shares = [["1", "2", "3", "4", "9"], ["9", "4", "5", "6", "7", "1"]]
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(home), *numbers]) for numbers in shares]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    found = Space.open(home)
    assert sorted(found.names) == [f"model-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 9)]
    assert found.verify().clean
    assert not found.verify().leftovers


TAGGER = (
    "import sys; from onnxspace.workflows.space import Space; s = Space.open(sys.argv[1]);"
    "[s.tag(['model-1', 'model-2'], f'{sys.argv[2]}={n}') for n in range(20)]"
)


@pytest.mark.process
def test_two_writers_of_labels_at_once(home: Path) -> None:
    """Each adds tags to the same models, while a third adds models, and the first label makes another format."""
    commands = [[sys.executable, "-c", TAGGER, str(home), word] for word in ("a", "b")]
    commands.append([sys.executable, "-c", WRITER, str(home), "3", "4", "5"])
    writers = [subprocess.Popen(command) for command in commands]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    found = Space.open(home)
    for entry in found.entries()[:2]:
        assert set(entry.labels.tags) == {f"{word}={number}" for word in "ab" for number in range(20)}
    assert len(found) == 5
    assert found.verify().clean


SETS = (
    "import sys; from pathlib import Path; from tests.helpers.spaces import insert, probes; from onnxspace.workflows.space import Space;"
    "s = Space.open(sys.argv[1]); one = s.add_set(sys.argv[2], probes(seed=int(sys.argv[3]))); [insert(one.path, n) for n in (1, 2)];"
    "[insert(s.path, n) for n in (3, 4)]"
)


@pytest.mark.process
def test_two_writers_of_sets_at_once(home: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", SETS, str(home), name, seed]) for name, seed in (("a", "1"), ("b", "2"))]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    found = Space.open(home)
    assert found.sets == ("default", "a", "b")
    assert [len(found.open_set(name)) for name in found.sets] == [4, 2, 2]
    assert found.verify().clean


MANY = "import sys; from pathlib import Path; from tests.helpers.spaces import insert_many; [insert_many(Path(sys.argv[1]), list(range(int(n), int(n) + 10))) for n in sys.argv[2:]]"


@pytest.mark.process
def test_two_writers_of_sheets_at_once(tmp_path: Path) -> None:
    home = space(tmp_path / "zoo.space").path
    shares = [["1", "5", "31", "11"], ["11", "31", "5", "21"], ["25", "35", "1"]]
    writers = [subprocess.Popen([sys.executable, "-c", MANY, str(home), *numbers]) for numbers in shares]
    for _ in range(3):  # whoever compacts meanwhile takes nothing away
        Space.open(home).compact()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = Space.open(home)
    assert sorted(found.names) == sorted(f"model-{n}" for n in range(1, 45))
    found.compact()
    assert found.verify().clean
    assert not found.verify().leftovers
    assert len(found.nearest("model-1", 100)) == 43
