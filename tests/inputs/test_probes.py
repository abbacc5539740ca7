"""The size at which pictures of a folder are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.photo_folder import find_size
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.probes import Probes


def save_pictures(folder: Path, *sizes: tuple[int, int]) -> list[NDArray[np.uint8]]:
    folder.mkdir(exist_ok=True)
    rng, found = np.random.default_rng(0), []
    for k, (width, height) in enumerate(sizes):
        found.append(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        Image.fromarray(found[-1]).save(folder / f"{k}.png")
    return found


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(32, 32), (32, 32)], 32),
        ([(32, 40), (100, 28)], 32),
        ([(8, 8)], 16),
        ([(224, 300)], 224),
        ([(32, 32), (1000, 600)], 224),
    ],
)  # fmt: skip
def test_small_pictures_keep_their_size(tmp_path: Path, sizes: list[tuple[int, int]], expected: int) -> None:
    save_pictures(tmp_path / "photos", *sizes)
    assert find_size(min(size) for size in sizes) == expected
    assert Probes.from_folder(tmp_path / "photos").size == expected
    assert Probes.from_folder(tmp_path / "photos", size=48).size == 48


def test_a_small_picture_reaches_a_network_of_its_size_unchanged(tmp_path: Path) -> None:
    pictures = np.stack(save_pictures(tmp_path / "photos", (32, 32), (32, 32)))
    probes = Probes.from_folder(tmp_path / "photos")
    np.testing.assert_array_equal(probes.images, pictures)
    np.testing.assert_array_equal(Preprocess(32, 32).pixels(probes.images), pictures)


def test_shrinking_averages(tmp_path: Path) -> None:
    """A pattern of single pixels becomes grey, not one of its colours."""
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.repeat(board[..., None], 3, axis=2).astype(np.uint8)).save(tmp_path / "photos/a.png")
    small = Preprocess(16, 16).pixels(Probes.from_folder(tmp_path / "photos").images)
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_the_first_picture_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path / "photos", (32, 32))
    (tmp_path / "photos/9.png").write_bytes(b"nothing")
    with pytest.raises(ProbeError, match=r"9\.png is not an image"):
        Probes.from_folder(tmp_path / "photos")
