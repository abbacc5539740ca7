"""Searches by use: candidates among many models, the pack and the index that they are searched by, and the ranking of sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from onnxspace.errors import OutputError, SpaceError
from onnxspace.scores.directed import Comparison, knn_agreements, probability_predictivities
from onnxspace.scores.folds import FOLDS, assign_folds
from onnxspace.scores.reduce import ReducedArrays
from onnxspace.scores.source_rows import AnswersOfTarget, make_row, to_vectors
from onnxspace.spaces import use_index
from onnxspace.spaces.packs import lock_pack
from onnxspace.spaces.snapshots import _KEPT
from onnxspace.workflows import space_ranking
from onnxspace.workflows.space import Space
from tests.helpers import spaces
from tests.helpers.commands import runner
from tests.helpers.use_spaces import IMAGES, ORDER, fingerprint, insert_models, reduced, use_space

NUMBERS = [*range(1, 31)]
PACK = ("cache.use-keys", "cache.use-rows")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return use_space(tmp_path / "zoo.space", NUMBERS).path


@contextmanager
def few_candidates(most: int) -> Iterator[None]:
    """As if spaces of more than `most` models were large, and `most` sources were ranked of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(space_ranking, "MOST_RANKED", most)
        patch.setattr(space_ranking, "CANDIDATES", most)
        yield


def ranked(space: Space, model: object, **options: bool) -> list[tuple[str, float | None]]:
    return [(one.name, one.value) for one in space.nearest(model, 100, by="use", **options)]  # type: ignore[arg-type]


def test_a_row_has_what_neighbours_answer_and_what_a_readout_leaves() -> None:
    rows = np.argsort(ORDER, kind="stable")
    sources = [number for number in NUMBERS if number % 20 != 8]
    held = [ReducedArrays(reduced(number)) for number in sources]
    sides = [(one.load("outputs")[rows], one.load("features")[rows]) for one in held]
    among = Comparison([str(number) for number in sources], assign_folds(ORDER[rows], FOLDS))
    agreed, explained = knn_agreements(sides, among).matrix, probability_predictivities(sides, among).matrix
    made = np.array([make_row(reduced(number), IMAGES) for number in sources])
    for i, number in enumerate(sources):
        target = AnswersOfTarget.of(reduced(number))
        assert target is not None
        readout, neighbours = target.score(made)
        if target.answers is not None and target.answers.classes is not None:
            np.testing.assert_allclose(neighbours, agreed[i], atol=1e-12)
        else:
            assert np.corrcoef(neighbours, agreed[i])[0, 1] > 1 - 1e-9
        assert np.corrcoef(readout, explained[i])[0, 1] > 0.9  # another ridge is the best of some
        vectors = np.einsum("pd,prd->pr", target.vectors, to_vectors(made))
        np.testing.assert_allclose(vectors, target.estimate(made), atol=1e-5)
    lacking = np.array([make_row(reduced(8), IMAGES), make_row(None, IMAGES)])
    assert np.isneginf(target.estimate(lacking)).all()
    assert np.isnan(to_vectors(lacking)[0]).all()


def test_nearest_by_use_is_the_ranking_of_rank(home: Path) -> None:
    space = Space.open(home)
    for name in ("model-3", "model-4", "model-28"):  # numbers, classes, and neither outputs nor features
        whole = space.compare(name)
        near = space.nearest(name, 100, by="use")
        assert [(one.name, one.value) for one in near] == [(n, pytest.approx(v, abs=1e-9)) for n, v in whole.rank(name).sources]
        assert [one.place for one in near] == list(whole.rank(name).places)
        row = whole.names.index(name)
        for one in near:
            for score, value in one.scores.items():
                expected = whole.scores[score][row, whole.names.index(one.name)]
                assert value == pytest.approx(expected, abs=1e-9) if value is not None else np.isnan(expected)
        assert space.sources(name).notes.get(name) == whole.notes.get(name)
    assert [one.name for one in space.nearest("model-3", 4, by="use")] == [name for name, _ in ranked(space, "model-3")[:4]]


def test_many_models_are_ranked_as_their_candidates_are(home: Path) -> None:
    space = Space.open(home)
    everything = dict(ranked(space, "model-4"))
    with few_candidates(12):
        near, whole = space.sources("model-4"), space.compare("model-4")
        own = [(name, pytest.approx(value, abs=1e-9)) for name, value in whole.rank("model-4").sources]
        assert list(near.rank("model-4").sources) == own
        assert len(own) == 12
        assert any(warning.startswith("Of 29 models, 12 are ranked") for warning in near.warnings)
        assert any(warning.startswith("Of 29 models, 12 are ranked") for warning in whole.warnings)
        best = sorted(everything, key=lambda name: -(everything[name] or 0))[:5]
        assert len(set(best) & {name for name, _ in ranked(space, "model-4")}) >= 4
        assert "model-28" not in near.names
        stranger = ranked(space, fingerprint(4))
        assert len(stranger) == 12
        assert set(dict(stranger)) - {"model-4"} <= set(everything)
        assert len(ranked(space, "model-28")) == 12  # by maps
        with pytest.raises(SpaceError, match="has 30 models, more than 12: name the one"):
            space.compare()


def test_the_pack_follows_the_space(home: Path) -> None:
    space = Space.open(home)
    with few_candidates(12):
        first = ranked(space, "model-4")
        assert all((home / name).stat().st_size for name in PACK)
        space.remove(first[0][0])
        without = ranked(space, "model-4")
        assert first[0][0] not in dict(without)
        assert len(without) == 12
        twin = reduced(int(without[0][0].partition("-")[2]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.helpers.use_spaces.reduced", lambda number: twin)
            insert_models(home, [104])
        assert "model-104" in dict(ranked(space, "model-4"))
        later = ranked(space, "model-4")
        for name in PACK:  # as an earlier version left it
            (home / name).unlink()
        assert ranked(Space.open(home), "model-4") == later
        assert (home / PACK[1]).stat().st_size == 30 * make_row(None, IMAGES).nbytes
        space.compact()
        assert ranked(space, "model-4") == later


def test_a_damaged_pack_is_named_and_made_anew(home: Path) -> None:
    space = Space.open(home)
    with few_candidates(12):
        first = ranked(space, "model-4")
        assert space.verify().clean
        content = bytearray((home / PACK[1]).read_bytes())
        content[3 * make_row(None, IMAGES).nbytes + 40] ^= 1
        (home / PACK[1]).write_bytes(content)
        problems = space.verify().problems
        assert [(one.kind, one.file) for one in problems] == [("damaged", "cache.use-rows")]
        assert "at row 3; `onnxspace space compact`" in problems[0].text
        space.compact()
        assert not (home / PACK[1]).exists()
        assert space.verify().clean
        for content in (b"", b"x" * 1000):
            for name in PACK:
                (home / name).write_bytes(content)
            space.compact()
            assert ranked(space, "model-4") == first
            assert space.verify().clean


def test_rows_of_an_untrusted_pack_are_bounded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_index, "LEAST_ROWS", 0)
    space, size = Space.open(home), make_row(None, IMAGES).nbytes
    with few_candidates(12):
        first = ranked(space, "model-4")
        content = (home / PACK[1]).read_bytes()
        for row in (b"\xff" * size, bytes(size), content[:4] + b"\x7f" * (size - 4)):
            (home / PACK[1]).write_bytes(row * 3 + content[3 * size :])
            assert len(ranked(space, "model-4")) == 12
            space.index(by="use")
            assert len(ranked(space, "model-4")) == 12
        (home / PACK[1]).unlink()
        (home / PACK[1]).symlink_to(home / "catalogue.sqlite")
        assert ranked(space, "model-4") == first
        assert Space.open(home).entries()


def test_a_pack_that_can_not_be_written_is_made_in_memory(home: Path) -> None:
    with few_candidates(12):
        with lock_pack(home, PACK[0]) as mine:
            assert mine
            busy = ranked(Space.open(home), "model-4")
            with pytest.raises(OutputError, match="Another process is using"):
                Space.open(home).index(by="use")
        assert busy == ranked(Space.open(home), "model-4")


def test_the_index_by_use_answers_as_all_rows_do(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(use_index, "LEAST_ROWS", 0)
    space, said = Space.open(home), list[str]()
    with few_candidates(12):
        expected = ranked(space, "model-4", exact=True)
        assert space.nearest("model-4", 100, by="use", warn=said.append)
        assert said == [f"{home} has no index by use, so all models are compared. `onnxspace space index` builds one."]
        assert space.index(by="use") == 30
        assert ranked(space, "model-4") == expected
        insert_models(home, list(range(41, 60)))
        said.clear()
        assert len(space.nearest("model-4", 100, by="use", warn=said.append)) == 12
        assert said == ["19 models were added since the index was built. `onnxspace space index` adds them to it."]
        expected = ranked(space, "model-4", exact=True)
        content = (home / "cache.use-index").read_bytes()
        for damaged in (b"", content[:60], content[:-4], b"x" + content[1:], content[:30] + b"xx" + content[32:]):
            (home / "cache.use-index").write_bytes(damaged)
            assert ranked(space, "model-4") == expected
        (home / "cache.use-index").unlink()
        (home / "cache.use-index").symlink_to(home / "catalogue.sqlite")
        assert ranked(space, "model-4") == expected


def test_what_a_search_keeps_in_memory_follows_other_processes(home: Path) -> None:
    from onnxspace.spaces.catalogue import open_catalogue

    space = Space.open(home)
    with few_candidates(12):
        first = ranked(space, "model-4")
        kept = [one for (folder, _), (_, one) in _KEPT.items() if folder == home]
        assert ranked(space, "model-4") == first
        assert [one for (folder, _), (_, one) in _KEPT.items() if folder == home] == kept
        with open_catalogue(home) as book, book.transaction():
            entry = book.find("name", first[0][0])
            assert entry is not None
            book.delete(entry)
        assert first[0][0] not in dict(ranked(space, "model-4"))
    assert {one.name for one in space.nearest("model-4", 100)} == set(space.names) - {"model-4"}


def test_living_rows_that_a_process_kept_are_read_by_the_next_until_something_changes(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxspace.spaces import living_rows
    from onnxspace.spaces.catalogue import Catalogue

    monkeypatch.setattr(living_rows, "LEAST_ROWS", 5)
    space, kept, real = Space.open(home), home / "cache.use-alive", Catalogue.keys
    reads: list[Catalogue] = []

    def keys(book: Catalogue) -> set[bytes]:
        reads.append(book)
        return real(book)

    monkeypatch.setattr(Catalogue, "keys", keys)

    def search() -> tuple[list[tuple[str, float | None]], int]:
        """What a new process finds, and how often it reads all identities."""
        _KEPT.clear()
        reads.clear()
        return ranked(space, "model-4"), len(reads)

    with few_candidates(12):
        first, count = search()
        assert (count, kept.is_file()) == (1, True)
        assert search() == (first, 0)
        content = kept.read_bytes()
        for wrong in (b"", content[:-1], content[:-1] + bytes([content[-1] ^ 255]), content + b"x"):
            kept.write_bytes(wrong)
            assert search() == (first, 1)
            assert kept.read_bytes() == content
        space.remove(first[0][0])
        kept.write_bytes(content)  # of the space before
        without, count = search()
        assert (count, first[0][0] in dict(without)) == (1, False)
        insert_models(home, [31])
        assert search()[1] == 1
        assert search()[1] == 0
        kept.unlink()
        kept.symlink_to(home / "catalogue.sqlite")
        assert search()[1] == 1
        assert not kept.is_symlink()
        assert Space.open(home).verify().clean


def test_a_space_of_maps_says_what_lacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = spaces.space(tmp_path / "maps.space")
    spaces.insert(made.path, 1)
    with pytest.raises(SpaceError, match="does not rank by use: it keeps maps only"):
        made.nearest("model-1", by="use")
    assert runner(capfd)("space", "nearest", str(made.path), "model-1", "--by", "use")[0] == 2


def test_what_nearest_prints(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = Space.open(home)

    def run(*arguments: str) -> str:
        code, out, err = runner(capfd)("space", "nearest", str(home), *arguments, "--quiet")
        assert code == 0, err
        return out

    text = run("model-4", "--by", "use", "-n", "3")
    near = space.nearest("model-4", 3, by="use")
    assert "Sources for model-4, best first by mean_rank" in text
    assert "Evidence: pictures (16 of noise-0), by mean_rank" in text
    assert [line.split(".")[1].split()[0] for line in text.splitlines() if line[2:6].strip().endswith(".")] == [
        n.name for n in near
    ]
    facts = json.loads(run("model-4", "--by", "use", "-n", "3", "--json"))
    assert (facts["schema"], facts["by"], facts["ranked_by"], facts["evidence"]) == (
        "onnxspace/space-nearest/1", "use", "mean_rank", "pictures",
    )  # fmt: skip
    assert [row["name"] for row in facts["nearest"]] == [one.name for one in near]
    assert set(facts["nearest"][0]) == {"name", "affinity", "error", "value", "place", "scores"}
    assert facts["ranked"] == 29
    facts = json.loads(run("model-4", "-n", "3", "--json"))
    assert (facts["by"], set(facts["nearest"][0])) == ("kin", {"name", "affinity", "error"})


def test_a_space_of_one_model_has_no_sources(tmp_path: Path) -> None:
    made = use_space(tmp_path / "one.space", [4])
    assert made.nearest("model-4", by="use") == ()
    assert [one.name for one in made.nearest(fingerprint(3), by="use")] == ["model-4"]
