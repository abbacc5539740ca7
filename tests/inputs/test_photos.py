"""Labelled photos: what a folder and a CSV mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.errors import OutputError, ProbeError
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.photos import Photos


def photo(path: Path, colour: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), colour, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat/1.png", "cat/old/2.png", "dog/1.png")):
        photo(tmp_path / "pets" / name, 40 * number)
    return tmp_path / "pets"


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text, "utf-8")
    return path


def test_a_folder_of_a_folder_per_class(folder: Path) -> None:
    found = Photos.open(folder)
    assert found.kind == "classes"
    assert found.labels.tolist() == ["cat", "cat", "dog"]
    assert [path.name for path in found.paths] == ["1.png", "2.png", "1.png"]
    assert found.describe("x") == {"name": "pets", "images": 3, "kind": "classes", "classes": 2, "missing": 0, "sha256": "x"}


@pytest.mark.parametrize(
    ("columns", "kind", "labels"),
    [
        ("kind\n{0},cat\n{1},dog\n{2},", "classes", ["cat", "dog", None]),
        ("kind\n{0},3\n{1},1\n{2},", "classes", ["3", "1", None]),
        ("size\n{0},.5\n{1},2\n{2},", "regression", [0.5, 2.0, None]),
        ("a,b\n{0},1,0\n{1},0,1\n{2},,1", "multilabel", [[1, 0], [0, 1], [None, 1]]),
        ("a,b\n{0},1,0\n{1},0,1.5\n{2},2,1", "regression", [[1, 0], [0, 1.5], [2, 1]]),
    ],
)
def test_what_the_labels_of_a_table_are(folder: Path, columns: str, kind: str, labels: list[object]) -> None:
    found = Photos.open(table(folder, "path," + columns.format("cat/1.png", "cat/old/2.png", "dog/1.png") + "\n"))
    assert found.kind == kind
    known = [[None if v != v else v for v in row] if isinstance(row, list) else (None if row != row else row) for row in
             found.labels.tolist()]  # fmt: skip
    assert known == labels
    assert all(path.exists() for path in found.paths)


def test_the_user_says_what_numbers_mean(folder: Path) -> None:
    file = table(folder, "path,stars\ncat/1.png,1\ndog/1.png,5\n")
    assert Photos.open(file).kind == "classes"
    assert Photos.open(file, "regression").labels.tolist() == [1.0, 5.0]


def test_decoded_as_probe_photos_are(folder: Path, tmp_path: Path) -> None:
    found, seen = Photos.open(folder), []
    decoded = found.decode(tmp_path / "images.npy", 16, seen.append)
    assert seen == [1, 1, 1]
    np.testing.assert_array_equal(decoded, np.stack([read_square(path, 16) for path in found.paths]))


def test_some_of_them_are_the_same_ones_every_time(tmp_path: Path) -> None:
    for number in range(9):
        photo(tmp_path / "all" / "ab"[number % 2] / f"{number}.png", number)
    first, again, other = (Photos.open(tmp_path / "all", images=4, seed=seed) for seed in (0, 0, 1))
    assert first.paths == again.paths != other.paths
    assert [p.parent.name for p in first.paths] == first.labels.tolist()


def test_a_changed_file_is_another_set(folder: Path) -> None:
    before = Photos.open(folder).fingerprint(16)
    assert Photos.open(folder).fingerprint(16) == before != Photos.open(folder).fingerprint(32)
    photo(folder / "cat" / "1.png", 99)
    (folder / "cat" / "1.png").touch()
    assert Photos.open(folder).fingerprint(16) != before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,kind\n", "lists no images below its first line"),
        ("path;kind\na.png;x\n", "must name the columns, separated by commas"),
        ("cat/1.png,cat\ndog/1.png,dog\n", r"its first line is of the image cat/1\.png\. Its first line must name the columns"),
        ("path\na.png\n", "is not a table of labelled photos"),
        ("path,kind\na.png,x,y\n", "row 2 has 3 cells, the first has 2"),
        ("path,a,b\na.png,x,1\n", "has 2 columns of class labels"),
        ('path,kind\na.png,"x\n', "can't be read as CSV"),
    ],
)
def test_a_table_that_is_none_is_refused(folder: Path, text: str, words: str) -> None:
    with pytest.raises(ProbeError, match=words):
        Photos.open(table(folder, text))


def test_what_is_no_labelled_data_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="does not exist"):
        Photos.open(tmp_path / "nothing.csv")
    with pytest.raises(ProbeError, match=r"folders of photos have classes as labels\. Give a CSV for regression"):
        Photos.open(folder, "regression")
    with pytest.raises(ProbeError, match="labels that are not numbers, which regression requires"):
        Photos.open(table(folder, "path,kind\ncat/1.png,cat\n"), "regression")
    photo(folder / "loose.png", 1)
    with pytest.raises(ProbeError, match=r"loose\.png is not in a class folder"):
        Photos.open(folder)


def test_a_missing_photo_is_named(folder: Path) -> None:
    found = Photos.open(table(folder, "path,kind\ncat/1.png,cat\ndog/9.png,dog\n"))
    with pytest.raises(ProbeError, match=r"9\.png can't be read"):
        found.fingerprint(16)


def test_nothing_is_left_of_a_set_that_can_not_be_decoded(folder: Path, tmp_path: Path) -> None:
    (folder / "dog" / "1.png").write_bytes(b"no image")
    place = tmp_path / "work"
    place.mkdir()
    with pytest.raises(ProbeError, match="is not an image"):
        Photos.open(folder).decode(place / "images.npy", 16)
    assert list(place.iterdir()) == []
    (place / "images.npy").mkdir()
    with pytest.raises((OutputError, ProbeError)):
        Photos.open(folder).decode(place / "images.npy", 16)
