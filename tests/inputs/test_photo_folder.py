"""Folders of photos: what is left out, what counts once, what can't be read, and images of more than 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.photo_folder import draw_sample
from onnxspace.inputs.photos import Photos
from onnxspace.inputs.probes import Probes

SIDE = 20


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    return path


def save_deep(path: Path, values: ArrayLike, kind: type[np.generic] = np.uint16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, kind)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for k in range(5):
        save(tmp_path / f"photos/{k}.png", k)
    return tmp_path / "photos"


def test_a_folder_of_photos_alone_needs_no_remark(folder: Path) -> None:
    assert Probes.from_folder(folder).remarks == ()


def test_other_files_are_counted_in_one_line(folder: Path) -> None:
    for name in ("notes.txt", "more.txt", "clip.mov", ".hidden.png", "LICENSE"):
        (folder / name).write_text("text")
    probes = Probes.from_folder(folder)
    assert len(probes) == 5
    (line,) = probes.remarks
    assert line.startswith(f"{folder}: 5 files that are not images were left out (2 .txt")
    assert "1 hidden" in line
    assert "1 no suffix" in line


def test_equal_files_count_once(folder: Path) -> None:
    before = Probes.from_folder(folder)
    for k in (1, 2):
        (folder / f"copy{k}.png").write_bytes((folder / "3.png").read_bytes())
    after = Probes.from_folder(folder)
    assert after.sha256 == before.sha256
    assert after.remarks == (f"{folder}: 2 copies of other photos of it count once.",)


def test_equal_pixels_count_once_and_another_photo_takes_the_place(folder: Path) -> None:
    Image.open(folder / "1.png").save(folder / "1b.bmp")
    everything = Probes.from_folder(folder)
    assert len(everything) == 5
    assert everything.remarks == (f"{folder}: 1 photo with the pixels of another one counts once.",)
    names = sorted(path.name for path in folder.iterdir())
    seed = next(s for s in range(100) if {"1.png", "1b.bmp"} <= {names[i] for i in draw_sample(range(6), 3, s)})
    assert len({image.tobytes() for image in Probes.from_folder(folder, 3, seed=seed).images}) == 3


def test_all_broken_photos_are_named_at_once(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"nothing")
    (folder / "4.png").write_bytes((folder / "3.png").read_bytes()[:400])
    with pytest.raises(ProbeError) as caught:
        Probes.from_folder(folder)
    text = str(caught.value)
    assert text.startswith(
        f"2 of 5 photos can't be used: {folder / '1.png'} is not an image; {folder / '4.png'} can't be read as"
    )
    assert text.endswith("Remove them, or save them again; --skip-broken goes on without.")


def test_one_broken_photo_is_one_sentence(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"nothing")
    with pytest.raises(ProbeError) as caught:
        Probes.from_folder(folder)
    expected = f"{folder / '1.png'} is not an image. Remove it, or save it again; --skip-broken goes on without."
    assert str(caught.value) == expected


def test_broken_photos_can_be_left_out(folder: Path) -> None:
    (folder / "1.png").write_bytes(b"nothing")
    probes = Probes.from_folder(folder, skip_broken=True)
    np.testing.assert_array_equal(probes.images, [read_square(folder / f"{k}.png", SIDE) for k in (0, 2, 3, 4)])
    assert probes.remarks == (f"1 photo that can't be used left out: {folder / '1.png'} is not an image.",)


def test_others_take_the_places_of_broken_photos(folder: Path) -> None:
    """So that a space gets the same photos for the number that it has."""
    names = [f"{k}.png" for k in range(5)]
    first = draw_sample(range(5), 3, 0)
    (folder / names[first[1]]).write_bytes(b"nothing")
    probes = Probes.from_folder(folder, 3, SIDE, skip_broken=True)
    assert len(probes) == 3
    read = [read_square(folder / names[k], SIDE) for k in draw_sample(range(5), 4, 0) if k != first[1]]
    np.testing.assert_array_equal(probes.images, read)


def test_a_folder_of_broken_photos_is_refused(tmp_path: Path) -> None:
    for k in range(30):
        (tmp_path / f"{k:02}.png").write_bytes(b"nothing" + bytes([k]))
    with pytest.raises(ProbeError, match=r"30 of 30 photos .* and 10 more\."):
        Probes.from_folder(tmp_path, skip_broken=True)


RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)


@pytest.mark.parametrize(("top", "white"), [(65535, 65535), (4095, 4095), (3000, 4095), (9000, 65535)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_their_range(tmp_path: Path, top: int, white: int, suffix: str) -> None:
    path = save_deep(tmp_path / f"a{suffix}", (RAMP * top).astype(np.uint16))
    expected = (RAMP * top).astype(np.uint16).astype(np.int64) * 255 // white
    np.testing.assert_array_equal(Probes.from_folder(tmp_path).images[0, ..., 1], expected)
    np.testing.assert_array_equal(read_square(path, SIDE)[..., 0], expected)


def test_a_whole_folder_decides_on_twelve_bits(tmp_path: Path) -> None:
    """A dark photo beside a bright one is dark."""
    save_deep(tmp_path / "bright.tif", (RAMP * 60000).astype(np.uint16))
    save_deep(tmp_path / "dark.tif", (RAMP * 4000).astype(np.uint16))
    assert Probes.from_folder(tmp_path).images[1].max() == 4000 * 255 // 65535


@pytest.mark.parametrize(
    ("low", "high", "black", "white"), [(0, 0.9, 0, 1), (0, 1, 0, 1), (3, 200, 0, 255), (0, 4e4, 0, 65535), (-5, 20, -5, 20)]
)
def test_floats_keep_their_range(tmp_path: Path, low: float, high: float, black: float, white: float) -> None:
    values = (low + RAMP * (high - low)).astype(np.float32)
    save_deep(tmp_path / "a.tif", values, np.float32)
    expected = np.rint((values.astype(np.float64) - black) / (white - black) * 255)
    np.testing.assert_array_equal(Probes.from_folder(tmp_path).images[0, ..., 2], expected)


@pytest.mark.parametrize(
    ("values", "kind", "why"),
    [
        (np.where(RAMP > 0.5, np.nan, RAMP), np.float32, "not finite"),
        (np.where(RAMP > 0.5, np.inf, RAMP), np.float32, "not finite"),
        (np.full((SIDE, SIDE), 0.5), np.float32, "all of its values are equal"),
        (np.full((SIDE, SIDE), 700), np.uint16, "all of its values are equal"),
    ],
)
def test_deep_images_without_a_range_are_refused(tmp_path: Path, values: ArrayLike, kind: type[np.generic], why: str) -> None:
    path = save_deep(tmp_path / "a.tif", values, kind)
    with pytest.raises(ProbeError, match=why) as caught:
        Probes.from_folder(tmp_path)
    assert str(path) in str(caught.value)
    assert "--skip-broken" in str(caught.value)


def test_labelled_photos_of_one_class_count_once(tmp_path: Path) -> None:
    for k, name in enumerate(("a/0.png", "a/1.png", "b/2.png")):
        save(tmp_path / name, k)
    for copy in ("a/3.png", "b/4.png"):  # the same photo in another class stays: its labels contradict each other
        (tmp_path / copy).write_bytes((tmp_path / "a/0.png").read_bytes())
    photos = Photos.open(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in photos.paths] == ["a/0.png", "a/1.png", "b/2.png", "b/4.png"]
    assert photos.labels.tolist() == ["a", "a", "b", "b"]
    assert photos.remarks == (f"{tmp_path}: 1 copy of other photos of it counts once.",)


def test_labelled_photos_that_are_broken(tmp_path: Path) -> None:
    for k, name in enumerate(("a/0.png", "a/1.png", "b/2.png", "b/3.png")):
        save(tmp_path / "data" / name, k)
    (tmp_path / "data/a/1.png").write_bytes(b"nothing")
    (tmp_path / "data/b/3.png").write_bytes(b"nothing at all")
    with pytest.raises(ProbeError, match=r"2 of 4 photos can't be used: .*1\.png is not an image; .*3\.png is not an image\."):
        Photos.open(tmp_path / "data").decode(tmp_path / "images.npy", SIDE)
    assert not (tmp_path / "images.npy").exists()
    photos = Photos.open(tmp_path / "data", skip_broken=True)
    assert photos.labels.tolist() == ["a", "b"]
    np.testing.assert_array_equal(
        photos.decode(tmp_path / "images.npy", SIDE),
        [read_square(tmp_path / f"data/{name}", SIDE) for name in ("a/0.png", "b/2.png")],
    )
    assert photos.remarks[0].startswith("2 photos that can't be used left out: ")


def test_labelled_photos_share_the_range_of_sixteen_bits(tmp_path: Path) -> None:
    save_deep(tmp_path / "data/a/0.tif", (RAMP * 60000).astype(np.uint16))
    save_deep(tmp_path / "data/b/1.tif", (RAMP * 4000).astype(np.uint16))
    decoded = Photos.open(tmp_path / "data").decode(tmp_path / "images.npy", SIDE)
    assert decoded[1].max() == 4000 * 255 // 65535
