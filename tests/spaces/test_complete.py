"""A fuller fingerprint completes a poorer one of the same model; what is there stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from onnxspace.cli import cli
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.spaces.complete import join_reduced
from onnxspace.spaces.layout import prints_path, read_reduced, reduced_path
from onnxspace.spaces.merge import fingerprint_of
from onnxspace.workflows.space import Space
from tests.helpers.spaces import IMAGES, insert, insert_many, reduced, space, with_answers


@pytest.fixture
def full(tmp_path: Path) -> dict[int, Fingerprint]:
    """Fingerprints of models 1 to 4 with features and outputs."""
    other = space(tmp_path / "other.space", keep_maps=False)
    insert_many(other.path, [1, 2, 3, 4])
    found = [fingerprint_of(other.path, other.protocol, entry) for entry in other.entries()]
    return {number: replace(one, reduced=with_answers(number)) for number, one in enumerate(found, 1)}


def add(made: Space, one: Fingerprint, folder: Path) -> tuple[int, int, int]:
    """Numbers of new, completed and unchanged models."""
    write_fingerprint(folder / "one.fp", one)
    found = made.add([folder / "one.fp"])
    assert not found.failed
    return len(found.models), len(found.completed), len(found.there)


def held(made: Space, name: str) -> Reduced:
    entry = next(entry for entry in made.entries() if entry.name == name)
    found = read_reduced(made.path, entry, made.protocol)
    assert found is not None
    return found


def test_features_then_outputs_then_nothing(tmp_path: Path, full: dict[int, Fingerprint]) -> None:
    made, one = space(tmp_path / "zoo.space"), full[1]
    assert one.reduced is not None
    assert add(made, replace(one, reduced=None), tmp_path) == (1, 0, 0)
    insert_many(made.path, [2])
    assert add(made, replace(one, reduced=one.reduced.without_outputs()), tmp_path) == (0, 1, 0)
    assert held(made, "model-1").answers is None
    assert add(made, one, tmp_path) == (0, 1, 0)
    np.testing.assert_array_equal(held(made, "model-1").answers, one.reduced.answers)
    for poorer in (one, replace(one, reduced=None), replace(one, reduced=one.reduced.without_outputs())):
        assert add(made, poorer, tmp_path) == (0, 0, 1)
    assert held(made, "model-1").lost == {}
    assert made.names == ("model-1", "model-2")
    assert (made.verify().problems, made.verify().leftovers) == ((), ())


def test_maps_stay(tmp_path: Path, full: dict[int, Fingerprint]) -> None:
    made = space(tmp_path / "zoo.space")
    for number in (1, 2):
        insert(made.path, number)
    before, maps = made.affinity().matrix, made.entries()[0].maps
    assert add(made, full[1], tmp_path) == (0, 1, 0)
    assert [entry.maps is not None for entry in made.entries()] == [True, True]
    assert made.entries()[0].maps == maps
    assert held(made, "model-1").answers is not None
    assert held(made, "model-1").levels is not None
    np.testing.assert_array_equal(made.affinity().matrix, before)
    assert (made.verify().problems, made.verify().leftovers) == ((), ())
    assert len(list((made.path / "maps").iterdir())) == 2


@pytest.mark.parametrize("make", [prints_path, reduced_path])
def test_a_damaged_fingerprint_is_healed_by_its_file(tmp_path: Path, full: dict[int, Fingerprint], make: object) -> None:
    made = space(tmp_path / "zoo.space")
    insert_many(made.path, [1])
    path = make(made.path, made.entries()[0].stem)  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:-5])
    assert not made.verify().clean
    assert add(made, replace(full[1], reduced=reduced(1)), tmp_path) == (0, 1, 0)
    assert made.verify().clean


def test_merging_completes(tmp_path: Path, full: dict[int, Fingerprint]) -> None:
    made, other = space(tmp_path / "zoo.space"), space(tmp_path / "there.space")
    insert_many(made.path, [1, 2])
    insert(made.path, 3)
    for number in (1, 3, 4):
        add(other, full[number], tmp_path)
    found = made.merge(other)
    assert (found.names, [name for _, name in found.completed]) == (("model-4",), ["model-1", "model-3"])
    assert all(held(made, f"model-{n}").answers is not None for n in (1, 3, 4))
    assert made.verify().clean


def test_the_command_says_so(tmp_path: Path, full: dict[int, Fingerprint]) -> None:
    made = space(tmp_path / "zoo.space")
    insert_many(made.path, [1])
    write_fingerprint(tmp_path / "one.fp", full[1])
    done = CliRunner().invoke(cli, ["space", "add", str(made.path), str(tmp_path / "one.fp")])
    assert f"{tmp_path / 'one.fp'} completes model-1, which lacked some of it" in done.output


def test_other_images_add_nothing() -> None:
    one, other = reduced(1).without_outputs(), replace(with_answers(1), order=np.arange(IMAGES)[::-1])
    assert join_reduced(one, replace(with_answers(1), order=np.roll(one.order, 1))) is None
    assert join_reduced(one, None) is None
    assert join_reduced(None, other) is other


def test_fingerprints_that_differ_in_features_are_different_comparisons(full: dict[int, Fingerprint]) -> None:
    from onnxspace.workflows.score import _hash_prints

    one = full[1]
    assert one.reduced is not None
    variants = [one, replace(one, reduced=None), replace(one, reduced=one.reduced.without_outputs()), full[2]]
    assert len({_hash_prints([variant]) for variant in variants}) == 4
    assert _hash_prints([one]) == _hash_prints([replace(one)])
