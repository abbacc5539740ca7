"""A space of made-up maps: what it answers, what it refuses, and what verify finds."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnxspace as ox
from onnxspace.errors import ConfigError, OutputError, SpaceError
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Options
from onnxspace.similarity import gram
from onnxspace.similarity.gpu_worker import GpuTileWorker
from onnxspace.similarity.tile_worker import MapFiles
from onnxspace.similarity.tiling import TilePlan
from onnxspace.spaces import affinity_cache, compare
from onnxspace.spaces.insert import insert_model
from onnxspace.spaces.schema import CatalogueEntry, parse_entry, parse_protocol, to_json
from tests.helpers.examples import examples
from tests.helpers.spaces import IMAGES, SIZE, double_loop, insert, maps, probes, space


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = space(tmp_path / "zoo.space")
    for number in (1, 2, 3):
        insert(made.path, number)
    return made.path


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "ask", "rank"]), st.integers(0, 5)), max_size=14))
def test_any_adds_and_removes_give_the_affinity_of_the_survivors(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    made = space(tmp_path_factory.mktemp("spaces") / "zoo.space")
    there: list[int] = []
    for what, number in steps:
        if what == "add":
            assert insert(made.path, number)[1] == (number not in there)
            there += [number] if number not in there else []
        elif what == "remove" and number in there:
            made.remove(f"model-{number}")
            there.remove(number)
        elif what == "ask":
            made.affinity()
        elif what == "rank" and number in there:
            others = [one for one in there if one != number]
            values = double_loop(there)[there.index(number)]
            expected = {f"model-{one}": values[there.index(one)] for one in others}
            assert dict(made.rank(f"model-{number}").sources) == pytest.approx(expected, abs=1e-6)
    found = made.affinity()
    assert found.names == tuple(f"model-{number}" for number in there)
    np.testing.assert_allclose(found.matrix, double_loop(there), atol=1e-6)
    assert found.errors is None
    assert made.verify().clean


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """How many new and old files of maps each comparison was of, in order."""
    asked: list[tuple[int, int]] = []

    def counted(new: list[Path], old: list[Path], *rest: object) -> np.ndarray:
        asked.append((len(new), len(old)))
        return gram.affinity_rows(new, old, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(compare, "affinity_rows", counted)
    monkeypatch.setattr(compare, "affinity_matrix", lambda files, *rest: counted(files, [], *rest))
    return asked


def test_an_added_model_costs_one_row(home: Path, asked: list[tuple[int, int]]) -> None:
    made = ox.Space.open(home)
    first = made.affinity().matrix
    assert (made.affinity().matrix == first).all()
    insert(home, 4)
    grown = made.affinity().matrix
    made.remove("model-2")
    fewer = made.affinity().matrix
    assert asked == [(3, 0), (1, 3)] or asked == [(2, 1), (1, 3)]
    assert (grown[:3, :3] == first).all()
    assert (fewer == np.delete(np.delete(grown, 1, 0), 1, 1)).all()


def test_ranking_one_model_costs_one_row_and_costs_it_once(home: Path, asked: list[tuple[int, int]]) -> None:
    made = ox.Space.open(home)
    first = made.rank("model-2", memory=2**20)
    assert made.rank("model-2") == first
    insert(home, 4)
    insert(home, 5, whole=False)
    grown = made.row("model-2")
    assert asked == [(1, 2), (1, 1)]
    assert [error > 0 for name, _, error in grown.sources if name == "model-5"] == [True]
    assert dict(first.sources).items() <= {name: value for name, value, _ in grown.sources}.items()
    made.rank("model-1")
    assert asked[2:] == [(1, 2)]
    matrix = made.affinity().matrix
    np.testing.assert_allclose(matrix[:4, :4], double_loop([1, 2, 3, 4]), atol=1e-6)
    del asked[:]
    assert dict(made.rank("model-2").sources) == pytest.approx({name: value for name, value, _ in grown.sources}, abs=1e-6)
    assert (made.affinity().matrix == matrix).all()
    assert asked == []


def test_where_all_have_maps_one_matrix_is_held(home: Path) -> None:
    entries = ox.Space.open(home).entries()
    assert compare.affinities(home, ox.Space.open(home).protocol, entries)[1] is None
    for _ in range(2):  # computed, and from the cache
        assert affinity_cache.load(home / "cache.sqlite", entries, errors=False).shape == (1, 3, 3)
        insert(home, 4, whole=False)
        assert compare.affinities(home, ox.Space.open(home).protocol, ox.Space.open(home).entries())[1] is not None


def test_a_gpu_makes_the_products_where_it_is_asked_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor that stands for one: new models cost their rows there too."""
    made: list[int] = []

    class Counted(GpuTileWorker):
        def __init__(self, plan: TilePlan, left: MapFiles, right: MapFiles | None) -> None:
            made.append(len(left.paths))
            super().__init__(plan, left, right, torch.device("cpu"))

    monkeypatch.setattr("onnxspace.attribution.devices.resolve_compute", lambda _device: Compute("cpu"))
    monkeypatch.setattr("onnxspace.similarity.gpu_worker.tile_worker_for", lambda _device: Counted)
    opened = ox.Space.open(home)
    np.testing.assert_allclose(opened.affinity(device="cuda").matrix, double_loop([1, 2, 3]), atol=1e-6)
    insert(home, 4)
    np.testing.assert_allclose(opened.affinity(device="cuda").matrix, double_loop([1, 2, 3, 4]), atol=1e-6)
    assert set(made) == {3, 1}
    with pytest.raises(ConfigError, match="Leave out --device, or --cluster"):
        opened.affinity(device="cuda", cluster="local:2")


def test_a_damaged_cache_is_made_again(home: Path) -> None:
    made = ox.Space.open(home)
    expected = made.affinity().matrix
    whole = (home / "cache.sqlite").read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2], whole.replace(b"\x3f", b"\x40"), whole[:5000] + b"\0" * 3000):
        (home / "cache.sqlite").write_bytes(content)
        assert (made.affinity().matrix == expected).all()
        assert made.verify().clean


def test_a_fingerprint_stands_in_for_maps_until_they_come(home: Path) -> None:
    insert(home, 4, whole=False)
    made = ox.Space.open(home)
    found = made.affinity()
    assert found.errors is not None
    assert (found.errors[3, :3] > 0).all()
    assert not found.errors[:3, :3].any()
    np.testing.assert_allclose(found.matrix, double_loop([1, 2, 3, 4]), atol=5 * found.errors.max())
    assert insert(home, 4)[1]
    assert made.names == ("model-1", "model-2", "model-3", "model-4")
    np.testing.assert_allclose(made.affinity().matrix, double_loop([1, 2, 3, 4]), atol=1e-6)
    assert not insert(home, 4, whole=False)[1]
    assert made.verify().clean
    assert made.verify().leftovers == ()


def test_answers(home: Path) -> None:
    made = ox.Space.open(home)
    assert len(made) == 3
    exact = made.rank("model-1").sources
    assert made.rank("zoo/1.onnx").sources == exact
    assert {name for name, _ in exact} == {"model-2", "model-3"}
    near = made.nearest("model-1", 2)
    assert {neighbour.name for neighbour in near} == {"model-2", "model-3"}
    assert all(abs(n.affinity - dict(exact)[n.name]) < 5 * n.error for n in near)
    assert made.tree().shape == (2, 4)
    assert made.duplicates(0.0)[0][2] == exact[0][1] or len(made.duplicates(0.0)) == 3
    assert made.duplicates(0.999) == ()
    for ask in (made.rank, made.nearest, made.remove):
        with pytest.raises(SpaceError, match=r"there is no model 'model-9'; did you mean model-[123] or model-[123]"):
            ask("model-9")


def test_an_affinity_can_be_shown_and_taken_elsewhere(home: Path) -> None:
    insert(home, 4, whole=False)
    found = ox.Space.open(home).affinity()
    assert len(found.to_csv().splitlines()) == 5
    shown = found._repr_html_()
    assert shown.count("<td") == 16
    assert "±" in shown
    assert found.to_dataframe().loc["model-1", "model-2"] == found.matrix[0, 1]


def test_an_empty_space_and_one_of_one_model(tmp_path: Path) -> None:
    made = space(tmp_path / "zoo.space")
    assert made.affinity().matrix.shape == (0, 0)
    assert made.duplicates() == ()
    insert(made.path, 1)
    assert made.affinity().matrix.tolist() == [[1.0]]
    assert made.rank("model-1").sources == ()
    assert made.nearest("model-1") == ()
    with pytest.raises(SpaceError, match="fewer than two models"):
        made.tree()


def test_names_are_made_longer_where_they_are_taken(home: Path) -> None:
    from dataclasses import replace

    from onnxspace.spaces.workdirs import open_workbench
    from onnxspace.storage.atomic import write_array
    from tests.helpers.spaces import draft

    def enter(one: CatalogueEntry) -> str:
        with open_workbench(home) as bench:
            write_array(bench / "prints.npy", np.ones((IMAGES, 64), "<f2"))
            return insert_model(home, one, bench / "prints.npy", None)[0].name

    one = draft(1)
    assert enter(replace(one, identity="a" * 64, encoder="t2")) == "model-1@t2"
    assert enter(replace(one, identity="b" * 64, sha256="c" * 64)) == "zoo/model-1"
    assert enter(replace(one, identity="d" * 64, sha256="e" * 64)) == "zoo/model-1#2"
    assert enter(replace(one, identity=one.identity[:12] + "f" * 52, sha256="1" * 64)) == "zoo/model-1#3"
    assert ox.Space.open(home).verify().clean


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "flipped maps": ("maps", "damaged", flipped),
    "truncated maps": ("maps", "truncated", lambda path: path.write_bytes(path.read_bytes()[:-2])),
    "missing maps": ("maps", "missing", Path.unlink),
    "maps that are a link": ("maps", "missing", lambda path: (path.rename(path.parents[2] / "x"), path.symlink_to("../../x"))),
    "flipped prints": ("prints", "damaged", flipped),
    "longer prints": ("prints", "damaged", lambda path: path.write_bytes(path.read_bytes() + b"x")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_verify_names_what_is_damaged(home: Path, name: str) -> None:
    folder, kind, damage = DAMAGE[name]
    path = home / folder / f"{ox.Space.open(home).entries()[1].stem}.npy"
    damage(path)
    found = ox.Space.open(home).verify().problems
    assert [(p.kind, p.file, p.model) for p in found] == [(kind, f"{folder}/{path.name}", "model-2")]
    assert str(path) in found[0].text


def test_a_fingerprint_that_is_not_finite_is_named(home: Path) -> None:
    path = home / "prints" / f"{ox.Space.open(home).entries()[1].stem}.npy"
    prints = np.load(path)
    prints[0, 0] = np.nan
    np.save(path, prints)
    with pytest.raises(SpaceError, match=rf"{path.name} is damaged \(a number in it is not finite\)\. Remove its model"):
        ox.Space.open(home).duplicates()


def test_verify_names_what_is_not_of_the_space(home: Path) -> None:
    flipped(home / "probes.npy")
    (home / "notes.txt").write_text("mine")
    shutil.copy(next((home / "maps").iterdir()), home / "maps/0123456789ab.npy")
    made = ox.Space.open(home)
    kinds = [(p.kind, p.file) for p in made.verify().problems]
    assert kinds == [("damaged", "probes.npy"), ("unreferenced", "maps/0123456789ab.npy"), ("unreferenced", "notes.txt")]
    made.compact()
    assert (home / "notes.txt").exists()
    assert len(made.verify().problems) == 2
    with pytest.raises(SpaceError, match=r"probes\.npy is damaged"):
        made.probes()


def edit(home: Path, *statements: str) -> None:
    with sqlite3.connect(home / "catalogue.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_changed_row_is_named_and_not_used(home: Path) -> None:
    edit(home, "UPDATE model SET facts = replace(facts, '\"t\"', '\"u\"') WHERE name = 'model-2'")
    made = ox.Space.open(home)
    with pytest.raises(SpaceError, match="row of model model-2: its checksum is wrong"):
        made.affinity()
    assert any("model-2" in p.text and p.kind == "catalogue" for p in made.verify().problems)


REFUSED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "newer": ("made by a newer onnxspace \\(format 6", lambda home: edit(home, "PRAGMA user_version = 6")),
    "another program's": ("belongs to another program", lambda home: edit(home, "PRAGMA application_id = 7")),
    "a trigger": (
        "tables are not those",
        lambda home: edit(home, "CREATE TRIGGER evil AFTER DELETE ON model BEGIN DELETE FROM space; END"),
    ),
    "no catalogue": ("not a model space", lambda home: (home / "catalogue.sqlite").unlink()),
    "no SQLite": ("catalogue.sqlite", lambda home: (home / "catalogue.sqlite").write_bytes(b"x" * 5000)),
    "truncated": ("catalogue.sqlite", lambda home: (home / "catalogue.sqlite").write_bytes((home / "catalogue.sqlite").read_bytes()[:4096])),
    "nothing": ("does not exist", lambda home: shutil.rmtree(home)),
    "a file": ("is a file", lambda home: (shutil.rmtree(home), home.write_text(""))),
    "other facts": ("has changed", lambda home: edit(home, "UPDATE space SET facts = replace(facts, 'elrp', 'saliency')")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_space_of_ours_is_refused(home: Path, name: str) -> None:
    words, change = REFUSED[name]
    change(home)
    with pytest.raises(SpaceError, match=words):
        ox.Space.open(home).entries()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_untrusted_facts_are_accepted_or_refused_but_never_crash(home: Path, data: st.DataObject) -> None:
    for found, back in ((ox.Space.open(home).protocol, parse_protocol), (ox.Space.open(home).entries()[0], parse_entry)):
        said = json.loads(to_json(found))  # type: ignore[arg-type]
        said[data.draw(st.sampled_from([*said, "new"]))] = data.draw(JSON)
        with contextlib.suppress(ValueError):
            kept = back(json.dumps(said))
            assert json.loads(to_json(kept)) == {name: said[name] for name in said if name != "new"}


@pytest.mark.parametrize("target", [None, 2, {}, {"word": 2}])
def test_a_protocol_whose_target_is_not_one_is_refused(home: Path, target: object) -> None:
    said = json.loads(to_json(ox.Space.open(home).protocol))
    with pytest.raises(ValueError, match="target"):
        parse_protocol(json.dumps({**said, "options": {"target": target}}))


def test_other_probes_are_refused(home: Path) -> None:
    made = ox.Space.open(home)
    assert made.probes(probes()).sha256 == made.protocol.sha256
    with pytest.raises(SpaceError, match="not those of"):
        made.probes(probes(seed=1))


@pytest.mark.parametrize("size", [0, 2**40])
def test_probe_images_come_back_with_and_without_being_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("onnxspace.inputs.protocol.KEPT_BYTES", size)
    drawn = ox.Probes.generate(2, 16, seed=5)
    assert ox.Space.create(tmp_path / "a.space", drawn).probes().sha256 == drawn.sha256
    assert (tmp_path / "a.space/probes.npy").exists() == bool(size)
    photos = ox.Space.create(tmp_path / "b.space", probes())
    if not size:
        with pytest.raises(SpaceError, match="Give their folder with --probe"):
            photos.probes()
    assert photos.probes(probes()).sha256 == probes().sha256
    assert photos.verify().clean


def test_what_is_there_is_not_made_into_a_space(home: Path, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="already a model space"):
        space(home)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("")
    with pytest.raises(SpaceError, match="already exists"):
        space(tmp_path / "notes")
    (tmp_path / "file").write_text("")
    with pytest.raises(SpaceError, match="already exists"):
        space(tmp_path / "file")
    with pytest.raises(OutputError, match="can't be written"):
        space(tmp_path / "file/zoo.space")
    with pytest.raises(ConfigError):
        ox.Space.create(tmp_path / "new.space", probes(), "saliency", options=Options(steps=3))
    assert not (tmp_path / "new.space").exists()


def test_a_busy_catalogue_is_waited_for_and_then_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.spaces.catalogue.BUSY_SECONDS", 0.05)
    other = sqlite3.connect(home / "catalogue.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutputError, match="in use by another process"):
        ox.Space.open(home)
    other.close()
    assert len(ox.Space.open(home)) == 3


def test_files_are_as_the_page_on_the_format_says(home: Path) -> None:
    entry = ox.Space.open(home).entries()[0]
    found = np.load(home / f"maps/{entry.stem}.npy", allow_pickle=False)
    assert (found == maps(1)).all()
    assert (found.shape, found.dtype) == ((IMAGES, SIZE**2), np.float16)
    assert np.load(home / f"prints/{entry.stem}.npy").shape == (IMAGES, 64)
    assert entry.stem == entry.identity[:12]


@pytest.mark.process
def test_comparing_needs_neither_torch_nor_onnx(home: Path) -> None:
    code = (
        "import sys, onnxspace as ox; s = ox.Space.open(sys.argv[1]); s.affinity(); s.rank('model-1'); s.tree(); s.names; "
        "s.nearest('model-1'); s.duplicates(); s.remove('model-2'); s.compact(); assert s.verify().clean; "
        "print([n for n in ('torch', 'onnx', 'onnxruntime', 'matplotlib') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
