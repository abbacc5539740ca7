"""Spaces and fingerprints whose maps are of a class or a value instead of the encoder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.errors import ConfigError, SpaceError
from onnxspace.inputs.targets import Region, Target, parse_target
from onnxspace.spaces.catalogue import CATALOGUE, LABELLED
from onnxspace.workflows.fingerprint_file import fingerprint_file
from onnxspace.workflows.space import Space
from tests.helpers.nets import classifier, save

METHOD = "gradient-x-input"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two classifiers with one trunk, of which the second has the first two classes exchanged."""
    monkeypatch.chdir(tmp_path)
    one, other = classifier(), classifier()
    for tensor in other.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim == 2:
            moved = (
                values[:, [1, 0, *range(2, values.shape[1])]]
                if values.shape[1] != 4
                else values[[1, 0, *range(2, len(values))]]
            )
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(moved), tensor.name))
    return [save(one, tmp_path / "one.onnx"), save(other, tmp_path / "other.onnx")]


def make_space(models: list[Path], explained: Target | int | None = 0, name: str = "zoo.space") -> Space:
    space = Space.create(name, ox.Probes.generate(6, 16), METHOD, explained=explained)
    assert not space.add(models).failed
    return space


def test_affinities_of_a_space_are_those_of_score(models: list[Path]) -> None:
    space = make_space(models)
    scored = ox.score(models, ox.Probes.generate(6, 16), method=METHOD, explained=0)
    np.testing.assert_allclose(space.affinity().matrix, scored.matrix, atol=1e-3)
    assert space.affinity().options == scored.options == {"target": "class 0"}
    assert make_space(models, None, "plain.space").affinity().matrix[0, 1] == pytest.approx(1, abs=1e-3)
    assert space.affinity().matrix[0, 1] < 0.99


def test_a_space_of_a_class_is_one_that_older_versions_refuse(models: list[Path]) -> None:
    make_space(models)
    with sqlite3.connect(Path("zoo.space") / CATALOGUE) as book:
        assert book.execute("PRAGMA user_version").fetchone()[0] == LABELLED + 1
        (facts,) = book.execute("SELECT facts FROM space").fetchone()
    assert json.loads(facts)["options"] == {"target": {"word": "0"}}
    space = Space.open("zoo.space")
    space.tag("one", license="mit")
    assert len(Space.open("zoo.space").where("license=mit")) == 1


def test_fingerprints_take_the_class_of_their_space(models: list[Path]) -> None:
    space = make_space(models)
    found, _, _ = space.fingerprint(models[1], "other.fp")
    alone, _, _ = fingerprint_file(models[1], "alone.fp", ox.Probes.generate(6, 16), METHOD, explained=0)
    assert (found.prints == alone.prints).all()
    near = {one.name: one.affinity for one in space.nearest("alone.fp")}
    assert near["other"] == pytest.approx(1, abs=1e-3)
    mixed = ox.score(["alone.fp", models[0]])
    assert mixed.options == {"target": "class 0"}
    assert mixed.matrix[0, 1] == pytest.approx(space.affinity().matrix[0, 1], abs=0.1)


def test_maps_of_a_class_and_of_encoders_are_not_compared(models: list[Path]) -> None:
    space, probes = make_space(models[:1]), ox.Probes.generate(6, 16)
    fingerprint_file(models[1], "plain.fp", probes, METHOD)
    fingerprint_file(models[1], "class.fp", probes, METHOD, explained=1)
    assert len(space.add(["plain.fp", "class.fp"]).failed) == 2
    assert space.names == ("one",)
    with pytest.raises(ConfigError, match=r"class\.fp holds maps of class 1, not of class 0"):
        ox.score(["class.fp", models[0]], explained=0)
    with pytest.raises(SpaceError, match=r"gradient-x-input of class 1 \(here: gradient-x-input of class 0\)"):
        space.merge(make_space(models[1:], 1, "second.space"))


def test_further_sets_of_images_keep_the_class(models: list[Path]) -> None:
    further = make_space(models).add_set("more", ox.Probes.generate(4, 16, seed=3))
    assert not further.add(models).failed
    assert further.affinity().options == {"target": "class 0"}


def test_a_region_belongs_to_one_image(models: list[Path]) -> None:
    with pytest.raises(ConfigError, match="which belongs to one image"):
        make_space(models, Target(word="0", region=Region((0, 0, 4, 4), name="corner")))
    assert not Path("zoo.space").exists()
    with pytest.raises(ConfigError, match="unit-saliency does not explain class 0"):
        Space.create("other.space", ox.Probes.generate(6, 16), "unit-saliency", explained=0)


@pytest.mark.parametrize(
    "found", [{}, [], {"word": 1}, {"word": ""}, {"word": "x" * 301}, {"rank": 0}, {"rank": True}, {"rank": 1, "word": "a"},
              {"contrast": True}, {"word": "a", "contrast": 1}, {"word": "a", "box": [0, 0, 1, 1]}, {"output": "a", "index": 3}],
)  # fmt: skip
def test_what_no_version_writes_is_damaged(models: list[Path], found: Any) -> None:
    with pytest.raises(ValueError, match="target"):
        parse_target(found)


@pytest.mark.parametrize(
    "given", [{"word": "dog"}, {"rank": 2}, {"output": "boxes", "index": "0,4"}, {"word": "1", "contrast": True}]
)
def test_a_target_is_read_as_it_was_written(given: Mapping[str, Any]) -> None:
    assert Target(**given).describe() == given
    assert parse_target(dict(given)) == Target(**given)
