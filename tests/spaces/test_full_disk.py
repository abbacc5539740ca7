"""A full disk, at every kind of write into a space: what was committed stays, and the error says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.errors import OutputError
from onnxspace.workflows.space import Space
from tests.helpers.disks import file_size_limit
from tests.helpers.spaces import insert, insert_many, probes

pytestmark = pytest.mark.usefixtures("in_memory")


@pytest.mark.parametrize("size", [0, 200, 5000, 13000, 20000])
def test_full_disk_in_bulk(home: Path, size: int) -> None:
    with file_size_limit(size), pytest.raises(OutputError, match="Free some space"):
        _ = [insert_many(home, list(range(number, number + 9))) for number in range(10, 300, 9)]
    found = Space.open(home).verify()
    assert found.clean
    assert {"model-1", "model-2"} <= set(Space.open(home).names)
    assert len(Space.open(home)) % 9 == 2
    insert_many(home, [3])
    assert Space.open(home).rank("model-3").target == "model-3"


@pytest.mark.parametrize("size", [0, 100, 200, 400, 5000, 13000, 16000, 30000])
def test_full_disk(home: Path, size: int) -> None:
    """Too small for maps, for fingerprints, for the catalogue's journal or its next page."""
    with file_size_limit(size), pytest.raises(OutputError, match="Free some space"):
        _ = [insert(home, number) for number in range(10, 200)]
    found = Space.open(home).verify()
    assert found.clean
    assert {"model-1", "model-2"} <= set(Space.open(home).names)
    insert(home, 3)
    assert Space.open(home).affinity().names[-1] == "model-3"


@pytest.mark.parametrize("size", [0, 200, 5000, 13000, 20000])
def test_full_disk_of_labels(home: Path, size: int) -> None:
    """What was labelled before stays, also where the first label needs another table."""
    with file_size_limit(size), pytest.raises(OutputError, match="Free some space"):
        _ = [Space.open(home).tag(["model-1", "model-2"], "x" * 50 + str(number)) for number in range(90)]
    tags = [set(entry.labels.tags) for entry in Space.open(home).entries()]
    assert tags[0] == tags[1] == {"x" * 50 + str(number) for number in range(len(tags[0]))}
    assert Space.open(home).verify().clean
    Space.open(home).tag("model-1", "after")
    assert "after" in Space.open(home).entries()[0].labels.tags


@pytest.mark.parametrize("size", [0, 200, 5000])
def test_full_disk_of_a_set(home: Path, size: int) -> None:
    with file_size_limit(size), pytest.raises(OutputError):
        Space.open(home).add_set("other", probes(seed=1), "pictures")
    opened = Space.open(home)
    assert (opened.sets, opened.verify().problems) == (("default",), ())
    opened.add_set("other", probes(seed=1), "pictures")
    assert opened.sets == ("default", "other")


def test_full_disk_while_it_is_made(tmp_path: Path) -> None:
    for size in (0, 100, 8000):
        with file_size_limit(size), pytest.raises(OutputError):
            Space.create(tmp_path / "zoo.space", probes())
        assert not (tmp_path / "zoo.space").exists()


def test_a_cache_on_a_full_disk_costs_time_only(home: Path) -> None:
    insert(home, 3)
    with file_size_limit(100):
        first = Space.open(home).affinity().matrix
    assert (Space.open(home).affinity().matrix == first).all()
