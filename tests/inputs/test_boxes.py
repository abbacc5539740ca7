"""Files of boxes: two formats with one meaning, everything else refused in a sentence, and boxes in the square that is cut."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from onnxspace.errors import ConfigError
from onnxspace.inputs import boxes
from onnxspace.inputs.boxes import Box, fit_boxes, read_boxes

ROWS = [("a.png", 1, 2, 30, 40), ("b/a.png", 0.5, 0, 1, 1), ("a.png", 5, 5, 5, 5)]


def as_csv(rows: list[tuple[object, ...]]) -> str:
    return "\n".join(["image,x,y,w,h", *(",".join(map(str, row)) for row in rows)])


def as_json(rows: list[tuple[object, ...]]) -> str:
    return json.dumps([dict(zip(boxes.FIELDS, row, strict=True)) for row in rows])


@pytest.mark.parametrize(("suffix", "write"), [(".csv", as_csv), (".json", as_json), (".CSV", as_csv)])
def test_both_formats_are_read_with_several_boxes_per_image(tmp_path: Path, suffix: str, write: object) -> None:
    path = tmp_path / f"boxes{suffix}"
    path.write_text("\ufeff" + write(ROWS), "utf-8")  # type: ignore[operator]
    assert read_boxes(path) == {"a.png": (Box(1, 2, 30, 40), Box(5, 5, 5, 5)), "b/a.png": (Box(0.5, 0, 1, 1),)}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("b.txt", "", "is not a name for boxes. Give a .csv or a .json file with image, x, y, w, h."),
        ("b.csv", "", "has no column image, x, y, w, h. Give image, x, y, w, h in its first line."),
        ("b.csv", "image,x,y,w,h\n", "has no boxes."),
        ("b.csv", "image,x,y,w\na,1,1,1\n", "has no column h."),
        ("b.csv", "image,x,y,w,h\na,1,1,1\n", "box 1 is not an image's name, x, y, and w and h above 0, in pixels."),
        ("b.csv", as_csv([("a", 1, 1, 1, 1), ("a", 1, 1, 0, 1)]), "box 2 is not"),
        ("b.csv", as_csv([("a", "nan", 1, 1, 1)]), "box 1 is not"),
        ("b.csv", as_csv([("a", 1, 1, 1, "1e400")]), "box 1 is not"),
        ("b.csv", as_csv([("a", 1e7, 1, 1, 1)]), "box 1 is not"),
        ("b.csv", as_csv([("", 1, 1, 1, 1)]), "box 1 is not"),
        ("b.csv", 'image,x,y,w,h\n"a', "is not CSV ("),
        ("b.json", "[", "is not JSON. Give a list of objects"),
        ("b.json", "[" * 100_000, "is not JSON. Give a list of objects"),
        ("b.json", "{}", "is not a list of objects."),
        ("b.json", "[1]", "is not a list of objects."),
        ("b.json", '[{"image": "a", "x": true, "y": 1, "w": 1, "h": 1}]', "box 1 is not"),
        ("b.json", '[{"image": 3, "x": 1, "y": 1, "w": 1, "h": 1}]', "box 1 is not"),
        ("b.json", f'[{{"image": "a", "x": 1, "y": 1, "w": 1, "h": {"9" * 400}}}]', "box 1 is not"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_boxes_is_refused_in_a_sentence(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = tmp_path / name
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigError) as refused:
        read_boxes(path)
    assert str(refused.value).startswith(str(path))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_missing_irregular_large_or_not_text_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "latin.csv").write_bytes(b"image,x,y,w,h\n\xe9,1,1,1,1\n")
    (tmp_path / "many.csv").write_text(as_csv([("a", 1, 1, 1, 1)] * 4), "utf-8")
    for name, words in {"none.csv": "no such file", "pipe.csv": "can't be read", "latin.csv": "is not text in UTF-8"}.items():
        with pytest.raises(ConfigError, match=words):
            read_boxes(tmp_path / name)
    monkeypatch.setattr(boxes, "MOST_BOXES", 3)
    with pytest.raises(ConfigError, match="has more than 3 boxes"):
        read_boxes(tmp_path / "many.csv")
    monkeypatch.setattr(boxes, "MOST_BYTES", 20)
    with pytest.raises(ConfigError, match="is larger than"):
        read_boxes(tmp_path / "many.csv")


def test_boxes_follow_the_crop_and_the_size_and_images_are_matched_by_the_end_of_their_path(tmp_path: Path) -> None:
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (200, 100)).save(tmp_path / folder / "a.png")
    images = [tmp_path / "left/a.png", tmp_path / "right/a.png"]
    listed = {"left/a.png": (Box(50, 0, 50, 50), Box(0, 0, 50, 100)), "ft/a.png": (Box(60, 60, 10, 10),)}
    assert fit_boxes(listed, images, 50, "boxes.csv") == ((Box(0, 0, 25, 25),), ())
    assert fit_boxes({"a.png": (Box(140, 80, 100, 100),)}, images, 50, "boxes.csv") == ((Box(45, 40, 5, 10),),) * 2
    with pytest.raises(ConfigError, match=r"boxes\.csv has no box inside the square that is cut from an image here"):
        fit_boxes({"a.png": (Box(0, 0, 50, 100),)}, images, 50, "boxes.csv")


def test_boxes_are_those_of_the_upright_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: shown 100 wide and 200 high
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg", exif=exif)
    assert fit_boxes({"a.jpg": (Box(10, 60, 20, 20),)}, [tmp_path / "a.jpg"], 100, "b") == ((Box(10, 10, 20, 20),),)
