"""Probe images from `.npy` arrays: their bands, range, size, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxspace.errors import ProbeError
from onnxspace.inputs.arrays import to_rgb
from onnxspace.inputs.image_files import crop_square, read_square
from onnxspace.inputs.probes import Probes


def saved(folder: Path, values: Any) -> Path:
    np.save(folder / "set.npy", values)
    return folder / "set.npy"


def random_bytes(*shape: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_bytes_are_cropped_and_resized_as_photos_are(tmp_path: Path) -> None:
    from PIL import Image

    values = random_bytes(2, 40, 30, 3)
    found = Probes.from_folder(saved(tmp_path, values), size=20)
    assert (found.name, found.images.shape) == ("set", (2, 20, 20, 3))
    np.testing.assert_array_equal(found.images[1], crop_square(Image.fromarray(values[1]), 20))
    Image.fromarray(values[0]).save(tmp_path / "photo.png")
    np.testing.assert_array_equal(found.images[0], read_square(tmp_path / "photo.png", 20))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 2000, 10_000], np.uint16), [0, 51, 255]),
        (np.array([0, 100, 4095], np.uint16), [0, 6, 255]),
        (np.array([-10, 0, 10], np.int16), [0, 128, 255]),
        (np.array([0, 0.5, 1], np.float32), [0, 128, 255]),
        (np.array([0.2, 0.4, 0.4], np.float64), [51, 102, 102]),
        (np.array([0, 51, 255], np.float32), [0, 51, 255]),
        (np.array([-1, 0, 1], np.float32), [0, 128, 255]),
        (np.array([100, 200, 1100], np.float16), [0, 26, 255]),
    ],
)
def test_range_of_numbers(tmp_path: Path, values: Any, expected: list[int]) -> None:
    pixels = np.broadcast_to(values[:, None, None, None], (3, 16, 16, 2))
    found = Probes.from_folder(saved(tmp_path, pixels))
    assert found.images[:, 0, 0, 0].tolist() == expected
    assert found.images.shape == (3, 16, 16, 2)


def test_frames_become_bands_frame_by_frame(tmp_path: Path) -> None:
    values = random_bytes(2, 5, 16, 16, 3)
    found = Probes.from_folder(saved(tmp_path, values))
    assert found.bands == 15
    np.testing.assert_array_equal(found.images[1, ..., 3 * 4 + 1], values[1, 4, ..., 1])


def test_sample_and_size(tmp_path: Path) -> None:
    values = random_bytes(9, 300, 260, 2)
    path = saved(tmp_path, values)
    assert Probes.from_folder(path, 4).images.shape == (4, 224, 224, 2)
    assert Probes.from_folder(path, 4, seed=1).sha256 != Probes.from_folder(path, 4, seed=2).sha256
    assert len(Probes.from_folder(path, size=16)) == 9


@pytest.mark.parametrize(
    ("values", "phrase"),
    [
        (np.zeros((3, 4)), r"Save probe images as numbers \[images, height"),
        (np.zeros((0, 4, 4, 3)), "Save probe images"),
        (np.zeros((2, 4, 4, 3)), "all equal"),
        (np.full((2, 4, 4, 3), np.nan), "not finite"),
        (np.zeros((2, 4, 4, 3), complex), "Save probe images"),
        (np.zeros((1, 1, 1, 5000), np.uint8), "more than 4096 bands"),
        (np.zeros((1, 1, 20_000, 1), np.uint8), "Save probe images"),
        (np.array([["a"]]), "Save probe images"),
        (np.array([None]), "can't be read as an array"),
    ],
)
def test_arrays_that_are_none(tmp_path: Path, values: Any, phrase: str) -> None:
    with pytest.raises(ProbeError, match=rf"set\.npy .*{phrase}"):
        Probes.from_folder(saved(tmp_path, values))


def test_files_that_hold_no_array(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("not an array")
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "short.npy").write_bytes(saved(tmp_path, random_bytes(4, 16, 16, 3)).read_bytes()[:-9])
    for name, phrase in {"text": "not a .npy file", "pipe": "regular", "short": "shorter", "gone": "no such file"}.items():
        with pytest.raises(ProbeError, match=rf"{name}\.npy.*{phrase}"):
            Probes.from_folder(tmp_path / f"{name}.npy")


def test_too_many_pixels(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="Use fewer with --images"):
        Probes.from_folder(saved(tmp_path, np.broadcast_to(np.uint8(0), (300, 2, 2, 2048))), 300, 224)


def test_what_is_shown_of_bands() -> None:
    image = random_bytes(4, 4, 6)
    np.testing.assert_array_equal(to_rgb(image), image[..., :3])
    np.testing.assert_array_equal(to_rgb(image[..., :2])[..., 2], image[..., 0])


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 3, 32, 32), 1), ((2, 1, 28, 40), 1), ((1, 6, 16, 64), 1), ((1, 8, 3, 32, 32), 2), ((1, 3, 16, 20, 20), 1)],
)
def test_channels_before_the_rows_are_named(tmp_path: Path, shape: tuple[int, ...], axis: int) -> None:
    with pytest.raises(
        ProbeError, match=rf"set\.npy holds .*channels seem to stand before its rows.*by numpy\.moveaxis\(array, {axis}, -1\)"
    ):
        Probes.from_folder(saved(tmp_path, random_bytes(*shape)))
    assert len(Probes.from_folder(saved(tmp_path, np.moveaxis(random_bytes(*shape), axis, -1)))) == shape[0]


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (2, 40, 20, 200), (2, 9, 9, 200), (1, 4, 32, 32, 3), (2, 10, 12, 3)])
def test_channels_behind_the_rows_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    bands = shape[-1] * (shape[1] if len(shape) == 5 else 1)
    assert Probes.from_folder(saved(tmp_path, random_bytes(*shape))).bands == bands
