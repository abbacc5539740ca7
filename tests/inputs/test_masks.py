"""Folders of masks: found by the images' names, inside the folder only, of the images' size, everything else refused in a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ConfigError, ProbeError
from onnxspace.inputs import masks
from onnxspace.inputs.areas import find_areas, widen
from onnxspace.inputs.boxes import Box
from onnxspace.inputs.masks import find_masks, fit_masks
from onnxspace.inputs.object_files import ObjectFiles


def paint(path: Path, size: tuple[int, int] = (48, 32), box: tuple[int, int, int, int] | None = None) -> Path:
    """A grey picture, or a mask that is white inside of `box` (left, top, right, bottom)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), 0 if box else 90, np.uint8)
    if box:
        pixels[box[1] : box[3], box[0] : box[2]] = 255
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return paint(tmp_path / "images/cat.png")


def test_a_mask_is_cropped_and_resized_as_its_image_is(tmp_path: Path, image: Path) -> None:
    paint(tmp_path / "masks/cat.bmp", box=(8, 0, 24, 32))
    (mask,) = fit_masks(find_masks(tmp_path / "masks"), [image], 16)
    assert mask is not None
    assert mask.tolist() == [[True] * 8 + [False] * 8] * 16


def test_masks_are_found_by_name_or_by_folder_and_name_and_an_image_may_have_none(tmp_path: Path) -> None:
    images = [paint(tmp_path / f"photos/{name}.png") for name in ("star/0", "cross/0", "cross/1")]
    for name in ("star/0", "cross/0"):
        paint(tmp_path / f"masks/{name}.png", box=(0, 0, 48, 32))
    found = fit_masks(find_masks(tmp_path / "masks"), images, 8)
    assert [mask is not None and bool(mask.all()) for mask in found] == [True, True, False]
    assert found[2] is None


def test_one_mask_is_not_that_of_two_images(tmp_path: Path) -> None:
    images = [paint(tmp_path / f"photos/{name}.png") for name in ("star/0", "cross/0")]
    paint(tmp_path / "masks/0.png", box=(0, 0, 9, 9))
    with pytest.raises(ConfigError, match=r"0.png would be the mask of both .* Put masks into folders of"):
        fit_masks(find_masks(tmp_path / "masks"), images, 8)


def test_what_leads_out_of_the_folder_and_what_is_no_file_is_no_mask(tmp_path: Path, image: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/cat.png").symlink_to(paint(tmp_path / "secret.png", box=(0, 0, 9, 9)))
    os.mkfifo(tmp_path / "masks/dog.png")
    with pytest.raises(ConfigError, match=r"masks has no picture. Give a folder with a mask of the name of each image"):
        find_masks(tmp_path / "masks")
    paint(tmp_path / "masks/other.png", box=(0, 0, 9, 9))
    with pytest.raises(ConfigError, match=r"has no mask of the name of an image, such as cat.png. Name masks as images."):
        fit_masks(find_masks(tmp_path / "masks"), [image], 8)


def test_what_is_no_mask_of_the_image_is_refused_in_a_sentence(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigError, match=r"none is not a folder. Give one with a picture of the name of each image as --masks."
    ):
        find_masks(tmp_path / "none")
    mask = paint(tmp_path / "masks/cat.png", (40, 32), (0, 0, 9, 9))
    with pytest.raises(
        ConfigError, match=r"cat\.png has 40×32 pixels, but .*cat\.png has 48×32\. Give a mask of the image's size\."
    ):
        fit_masks(find_masks(tmp_path / "masks"), [image], 8)
    paint(mask, box=(0, 0, 0, 0))
    with pytest.raises(
        ConfigError, match=r"No mask of .* has a bright pixel inside of its image's square. Paint objects white."
    ):
        fit_masks(find_masks(tmp_path / "masks"), [image], 8)
    mask.write_bytes(b"no picture")
    with pytest.raises(ProbeError, match=r"is not an image"):
        fit_masks(find_masks(tmp_path / "masks"), [image], 8)
    paint(tmp_path / "masks/cat.bmp", box=(0, 0, 9, 9))
    with pytest.raises(ConfigError, match=r"has two masks for cat: cat.bmp and cat.png. Keep one."):
        find_masks(tmp_path / "masks")
    mask.unlink()
    paint(tmp_path / "masks/dog.png")
    monkeypatch.setattr(masks, "MOST_FILES", 1)
    with pytest.raises(ConfigError, match=r"has more than 1 masks. Give a folder of fewer."):
        find_masks(tmp_path / "masks")


def test_boxes_and_masks_are_one_answer(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--boxes b\.csv and --masks m both say where objects are\. Give one of them\."):
        ObjectFiles("b.csv", "m").read()
    assert ObjectFiles().read() is None
    probes = ox.Probes.generate(2, 16)
    with pytest.raises(ConfigError, match=r"Boxes and masks are two answers"):
        find_areas(probes, [[Box(0, 0, 1, 1)]] * 2, [None, None], 0)
    with pytest.raises(ConfigError, match=r"There are masks for 1 images, but 2 images"):
        find_areas(probes, None, [None], 0)
    with pytest.raises(ConfigError, match=r"A mask is float64 \[16, 16\] but must be bool \[16, 16\]"):
        find_areas(probes, None, [np.ones((16, 16)), None], 0)  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=r"No image has a mask with a pixel inside it"):
        find_areas(probes, None, [np.zeros((16, 16), bool), None], 0)


def test_masks_are_widened_by_a_distance_for_pointing_alone() -> None:
    mask = np.zeros((16, 16), bool)
    mask[8, 8] = True
    near = {(int(r), int(c)) for r, c in np.argwhere(widen(mask, 3))}
    assert near == {(r, c) for r in range(16) for c in range(16) if np.hypot(r - 8, c - 8) <= 3}
    areas = find_areas(ox.Probes.generate(1, 16), None, [mask], 3)
    assert areas is not None
    assert areas.objects[0] is not None
    assert areas.widened[0] is not None
    assert (areas.objects[0].sum(), areas.widened[0].sum()) == (1, len(near))
