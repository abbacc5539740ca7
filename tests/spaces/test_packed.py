"""Many models in a space: sheets of fingerprints, the index over them, and duplicates without a matrix."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxspace as ox
from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.spaces import add_fingerprints, compare, packed
from onnxspace.spaces.catalogue import Catalogue
from onnxspace.spaces.insert import insert_sheet
from onnxspace.spaces.packed import lock_pack
from onnxspace.storage.map_file import to_unit_maps
from tests.helpers import spaces
from tests.helpers.spaces import IMAGES, SIZE, double_loop, insert, insert_many, maps, space


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = space(tmp_path / "zoo.space")
    insert(made.path, 1)
    insert_many(made.path, [2, 3, 4, 5, 6])
    return made.path


@pytest.fixture
def indexed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(packed, "LEAST_BYTES", 0)
    assert ox.Space.open(home).index() == 6
    return home


def print_file(place: Path, number: int, name: str) -> Path:
    made = spaces.probes()
    one = Fingerprint(
        name, f"{number:064x}", "t", "elrp", made.name, SIZE, made.sha256, spaces.project(maps(number)).astype(np.float16)
    )
    write_fingerprint(place / f"{name}-{number}.fp", one)
    return place / f"{name}-{number}.fp"


def files(home: Path) -> set[str]:
    return {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}


def test_a_batch_of_prints_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(add_fingerprints, "_MOST", 4)
    made = space(tmp_path / "zoo.space")
    insert(made.path, 1)
    given = [print_file(tmp_path, number, "same") for number in (1, 2, 3, 4, 5, 6, 7)]
    (tmp_path / "bad.fp").write_bytes(b"x")
    added = made.add([given[0], given[1], given[1], tmp_path / "bad.fp", *given[2:]])
    assert len(set(added.names)) == 6
    assert all(name.startswith(("same", f"{tmp_path.name}/same")) for name in added.names)
    assert [name for _, name in added.there] == ["model-1", "same"]
    assert [failure.path for failure in added.failed] == [str(tmp_path / "bad.fp")]
    assert len([name for name in files(made.path) if name.startswith("prints/")]) == 3
    entry = made.entries()[1]
    sheet = np.load(made.path / f"prints/{entry.stem.partition('.')[0]}.npy")
    assert (sheet[int(entry.stem.partition(".")[2])] == spaces.project(maps(2)).astype(np.float16)).all()
    np.testing.assert_allclose(made.affinity().matrix, double_loop([1, 2, 3, 4, 5, 6, 7]), atol=0.5)
    assert made.add(given).models == ()
    assert made.verify().clean
    assert made.verify().leftovers == ()


def test_thousands_of_one_name_are_numbered_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = space(tmp_path / "zoo.space")
    rows = [np.ones((IMAGES, 64), np.float16)] * 600
    drafts = [replace(spaces.draft(n, feed=""), name="net", path="net.fp") for n in range(600)]
    asked = 0
    found = Catalogue.find

    def counted(*arguments: object) -> object:
        nonlocal asked
        asked += 1
        return found(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Catalogue, "find", counted)
    insert_sheet(made.path, drafts, rows)
    assert made.names == ("net", *(f"net#{number}" for number in range(2, 601)))
    assert asked < 600 * 40


def test_a_row_gives_way_to_maps_and_the_sheet_stays(home: Path) -> None:
    made = ox.Space.open(home)
    before = made.names
    assert insert(home, 3)[1]
    assert set(made.names) == set(before)
    assert made.verify().clean
    assert made.verify().leftovers == ()
    rest = [2, 4, 5, 6]
    for number in rest[:-1]:
        made.remove(f"model-{number}")
    assert {near.name for near in made.nearest("model-1")} == {"model-3", "model-6"}
    count, won = made.compact()
    assert count == 2  # the sheet and what is in little
    assert won > 0
    stem = next(entry.stem for entry in made.entries() if entry.name == "model-6")
    assert np.load(home / f"prints/{stem.removesuffix('.0')}.npy").shape == (1, IMAGES, 64)
    assert made.verify().clean
    np.testing.assert_allclose(made.rank("model-6").sources[0][1], max(double_loop([6, 1, 3])[0, 1:]), atol=0.5)
    made.remove("model-6")
    assert len(list(home.glob("prints/*"))) == 2


def damaged(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_verify_names_the_rows_of_a_sheet_that_changed(home: Path) -> None:
    made = ox.Space.open(home)
    path = home / "prints" / f"{made.entries()[2].stem[:12]}.npy"
    whole, row = path.read_bytes(), 2 * IMAGES * 64
    damaged(path, len(whole) - 4 * row + 5)
    assert [(p.kind, p.model) for p in made.verify().problems] == [("damaged", "model-3")]
    contents = {
        whole[:-1]: "truncated", whole + b"x": "damaged", whole[: -2 * row]: "truncated", b"": "damaged",
        whole[:100] + b"y" + whole[101:]: "damaged",
    }  # fmt: skip
    for content, kind in contents.items():
        path.write_bytes(content)
        assert [p.model for p in made.verify().problems] == [f"model-{n}" for n in (2, 3, 4, 5, 6)]
        assert {(p.kind, p.file) for p in made.verify().problems} == {(kind, f"prints/{path.name}")}
    for content in (whole[:-1], b"", np.lib.format.magic(1, 0)):
        path.write_bytes(content)
        with pytest.raises(SpaceError, match="damaged"):
            made.nearest("model-2")
    path.unlink()
    assert {p.kind for p in made.verify().problems} == {"missing"}
    path.write_bytes(whole)
    assert made.verify().clean


def test_the_index_answers_as_all_fingerprints_do(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, said = ox.Space.open(indexed), []
    expected = made.nearest("model-2", 3, exact=True)
    with monkeypatch.context() as patch:
        patch.setattr("onnxspace.spaces.neighbours.find_nearest", lambda row, matrix, n: (np.empty(0, np.intp), np.empty(0)))
        assert made.nearest("model-2", 3, warn=said.append) == expected
    insert_many(indexed, [7])
    made.remove(expected[0].name)
    found = made.nearest("model-2", 9, warn=said.append)
    assert found == made.nearest("model-2", 9, exact=True)
    assert {near.name for near in found} == set(made.names) - {"model-2"}
    assert said == []
    insert_many(indexed, [8, 9])
    assert made.nearest("model-2", 2, warn=said.append) == made.nearest("model-2", 2, exact=True)
    assert said == ["3 models were added since the index was built. `onnxspace space index` adds them to it."]
    assert made.index() == 8
    assert made.nearest("model-2", 2, warn=said.append) == made.nearest("model-2", 2, exact=True)
    assert len(said) == 1
    assert made.verify().clean
    made.compact()  # a removed model's row goes, and so does the index
    assert not (indexed / "cache.index").exists()
    made.index()
    made.compact()
    assert (indexed / "cache.index").exists()


def test_a_damaged_or_missing_index_costs_time_only(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ox.Space.open(indexed)
    expected, path = made.nearest("model-1", exact=True), indexed / "cache.index"
    whole, said = path.read_bytes(), []
    for content in (b"", whole[:-1], whole[:40], b"x" * 999):
        path.write_bytes(content)
        assert made.nearest("model-1", warn=said.append) == expected
        assert made.verify().clean
    assert all(
        ("All fingerprints are compared" in text and "build it again" in text) or "not an index" in text for text in said
    )
    path.unlink()
    assert made.nearest("model-1", warn=said.append) == expected
    assert "`onnxspace space index` builds one" in said[-1]
    made.index()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "usearch.index", None)
        assert made.nearest("model-1", warn=said.append) == expected
        assert "pip install" in said[-1]
        with pytest.raises(ConfigError, match=r"onnxspace\[search\]"):
            made.index()
    path.unlink()
    path.symlink_to(indexed / "catalogue.sqlite")
    assert made.nearest("model-1", warn=said.append) == expected
    assert len(said) == 7


def test_an_index_that_can_not_be_made_says_why(home: Path, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="no models"):
        space(tmp_path / "empty.space").index()
    with lock_pack(home), pytest.raises(OutputError, match="Another process is using"):
        ox.Space.open(home).index()
    assert ox.Space.open(home).verify().leftovers == ()


def near_copies(home: Path, wishes: list[tuple[int, float, bool]]) -> None:
    """Models that are some other, with so much noise; with maps or not."""
    for place, (original, noise, whole) in enumerate(wishes):
        rows = (
            maps(original).astype(np.float64) + noise * np.random.default_rng(place).standard_normal((IMAGES, SIZE**2)) / SIZE
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spaces, "maps", lambda number, rows=rows: to_unit_maps(rows)[0])
            insert(home, 100 + place, whole=whole)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wishes=st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0.0, 0.02, 0.1, 0.3, 1.0]), st.booleans()), max_size=8),
    least=st.sampled_from([0.999, 0.98, 0.9, 0.3, -1.0]),
    with_index=st.booleans(),
)
def test_duplicates_are_the_pairs_of_the_matrix(
    tmp_path_factory: pytest.TempPathFactory, wishes: list[tuple[int, float, bool]], least: float, with_index: bool
) -> None:
    made = space(tmp_path_factory.mktemp("spaces") / "zoo.space")
    near_copies(made.path, wishes)
    with pytest.MonkeyPatch.context() as patch:
        if with_index and wishes:
            patch.setattr(packed, "LEAST_BYTES", 0)
            made.index()
        if least > 0.9:
            patch.setattr(compare, "affinity_matrix", None)
        found = made.duplicate_groups(least)
    whole = made.affinity()
    expected = {
        (whole.names[i], whole.names[j]): whole.matrix[i, j]
        for i in range(len(wishes))
        for j in range(i + 1, len(wishes))
        if whole.matrix[i, j] >= least
    }
    assert {pair[:2]: pair[2] for pair in found.pairs} == pytest.approx(expected, abs=1e-6)
    assert [pair[2] for pair in found.pairs] == sorted((pair[2] for pair in found.pairs), reverse=True)
    assert sorted(name for group in found.members for name in group) == sorted({name for pair in expected for name in pair})
    assert {pair[:2] for pair in made.duplicates(least)} == set(expected)
