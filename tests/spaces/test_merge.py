"""Merging spaces, exporting fingerprints, and lists of files: the same values in another place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from onnxspace.cli import cli
from onnxspace.errors import SpaceError
from onnxspace.spaces.layout import read_reduced
from onnxspace.workflows.space import Space
from tests.helpers.spaces import insert, insert_many, probes, space


@pytest.fixture
def two(tmp_path: Path) -> tuple[Space, Space]:
    a, b = space(tmp_path / "a.space"), space(tmp_path / "b.space")
    insert(a.path, 1)
    insert(b.path, 1)
    insert(b.path, 2)
    insert_many(b.path, [3, 4])
    return a, b


def test_merged_models_have_their_maps_prints_and_features(two: tuple[Space, Space], tmp_path: Path) -> None:
    a, b = two
    found = a.merge(b)
    assert (found.names, [name for _, name in found.there]) == (("model-2", "model-3", "model-4"), ["model-1"])
    assert a.verify().clean
    names = {name: i for i, name in enumerate(b.names)}
    order = [names[name] for name in a.names]
    np.testing.assert_array_equal(a.affinity().matrix, b.affinity().matrix[np.ix_(order, order)])
    assert [one.maps for one in a.entries()] == [b.entries()[i].maps for i in order]
    for one in a.entries():
        assert read_reduced(a.path, one, a.protocol) is not None
    assert a.merge(b.path).names == ()


def test_a_space_of_fingerprints_takes_no_maps(two: tuple[Space, Space], tmp_path: Path) -> None:
    c = space(tmp_path / "c.space", keep_maps=False)
    c.merge(two[1])
    assert len(c) == 4
    assert all(one.maps is None for one in c.entries())
    assert c.verify().clean


def test_other_images_or_details_are_refused(two: tuple[Space, Space], tmp_path: Path) -> None:
    for name, other in (
        ("images", Space.create(tmp_path / "i", probes(seed=1))),
        ("detail images", Space.create(tmp_path / "d", probes(), detail="images")),
        ("saliency", Space.create(tmp_path / "m", probes(), "saliency")),
    ):
        with pytest.raises(SpaceError, match=name):
            two[0].merge(other)


def test_damaged_maps_are_not_merged(two: tuple[Space, Space]) -> None:
    a, b = two
    path = b.path / "maps" / f"{b.entries()[1].stem}.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = a.merge(b)
    assert [failure.path for failure in found.failed] == ["zoo/2.onnx"]
    assert "the maps of model-2 are damaged" in found.failed[0].error
    assert a.names == ("model-1", "model-3", "model-4")
    assert a.verify().clean
    assert CliRunner().invoke(cli, ["space", "merge", str(a.path), str(b.path)], standalone_mode=False).return_value == 2


def test_exported_fingerprints_make_the_same_space(two: tuple[Space, Space], tmp_path: Path) -> None:
    _, b = two
    files = b.export(tmp_path / "prints")
    assert [file.name for file in files] == [f"model-{n}.fp" for n in (1, 2, 3, 4)]
    c = space(tmp_path / "c.space", keep_maps=False)
    (tmp_path / "list.txt").write_text("\n".join(map(str, files[:3])) + "\n\n", "utf-8")
    done = CliRunner().invoke(cli, ["space", "add", str(c.path), "--from", str(tmp_path / "list.txt"), "--quiet"])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(cli, ["space", "add", str(c.path), "--from", "-", "--quiet"], input=f"{files[3]}\n")
    assert done.exit_code == 0, done.output
    assert c.names == b.names
    for name in b.names:
        assert [n.affinity for n in c.nearest(name)] == [n.affinity for n in b.nearest(name)]
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in c.export(tmp_path / "again")]


def test_names_of_exported_files_are_plain_and_different(two: tuple[Space, Space], tmp_path: Path) -> None:
    from onnxspace.spaces.merge import _choose_file

    entry = two[1].entries()[0]
    from dataclasses import replace

    odd = replace(entry, name="../../zoo/ä b")
    first = _choose_file(tmp_path, odd, [])
    assert first.parent == tmp_path
    assert first.name == "_.._zoo_b.fp"
    assert _choose_file(tmp_path, odd, [first]).name == f"_.._zoo_b-{entry.identity[:12]}.fp"


def test_add_without_models_says_how(two: tuple[Space, Space], tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["space", "add", str(two[0].path)])
    assert done.exit_code == 2
    assert "--from" in done.output
