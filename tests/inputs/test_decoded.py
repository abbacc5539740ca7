"""Photos at several sizes: each straight from the file, kept for the next run, with one digest for all sizes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.decoded import DecodedPhotos
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.photos import Photos
from onnxspace.inputs.preprocess import Preprocess


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    rng = np.random.default_rng(0)
    for number in range(4):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)).save(path)
    return Photos.open(tmp_path / "data")


def test_every_size_is_decoded_once_and_from_the_file(photos: Photos, tmp_path: Path) -> None:
    seen: list[int] = []
    decoded = DecodedPhotos(photos, tmp_path, seen.append)
    for size in (32, 8, 32):
        expected = np.stack([read_square(path, size) for path in photos.paths])
        np.testing.assert_array_equal(decoded.at_size(size).images, expected)
    np.testing.assert_array_equal(decoded.at_size(32).images[0], np.asarray(Image.open(photos.paths[0]))[:, 8:40])
    assert len(seen) == 8
    assert decoded.sizes == (32, 8)
    again = DecodedPhotos(photos, tmp_path, seen.append)
    again.at_size(8)
    assert (len(seen), again.hashes) == (8, decoded.hashes)


def test_the_digest_is_of_the_pixels_at_their_own_size(photos: Photos, tmp_path: Path) -> None:
    expected = [hashlib.sha256(np.asarray(Image.open(path)).tobytes()).digest() for path in photos.paths]
    small, none = DecodedPhotos(photos, tmp_path / "a"), DecodedPhotos(photos, tmp_path / "b")
    small.at_size(8)
    assert small.hashes == none.hashes == expected
    assert small.sha256 == none.sha256 == hashlib.sha256(b"".join(expected)).hexdigest()


def test_a_photo_that_can_not_be_read_leaves_nothing(photos: Photos, tmp_path: Path) -> None:
    photos.paths[2].write_bytes(b"no image")
    with pytest.raises(ProbeError, match="is not an image"):
        DecodedPhotos(photos, tmp_path / "work").at_size(8)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_preprocessing_leaves_pixels_of_the_right_size_alone(photos: Photos, tmp_path: Path, resize: str) -> None:
    images = DecodedPhotos(photos, tmp_path).at_size(24).images
    np.testing.assert_array_equal(Preprocess(24, 24, resize=resize).pixels(images), images)  # type: ignore[arg-type]
