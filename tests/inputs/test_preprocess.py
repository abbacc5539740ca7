"""The same pixels in every layout, and maps that return to where they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.inputs.image_files import read_square
from onnxspace.inputs.preprocess import Color, Layout, Preprocess, Resize, resize_matrix

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)


def test_layouts_show_the_network_the_same_pixels() -> None:
    first, last = Preprocess(20, 28, "NCHW")(IMAGES), Preprocess(20, 28, "NHWC")(IMAGES)
    assert first.shape == (3, 3, 20, 28)
    np.testing.assert_array_equal(first, last.transpose(0, 3, 1, 2))


def test_bgr_reverses_the_channels_and_grey_has_one() -> None:
    rgb, bgr = Preprocess(16, 16)(IMAGES), Preprocess(16, 16, color="BGR")(IMAGES)
    np.testing.assert_array_equal(rgb, bgr[:, ::-1])
    assert Preprocess(16, 16, color="GREY")(IMAGES).shape == (3, 1, 16, 16)


def test_default_range_is_minus_one_to_one() -> None:
    black_and_white = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    found = Preprocess(8, 8)(black_and_white)
    assert found[0].min() == found[0].max() == -1
    assert found[1].min() == found[1].max() == 1


def test_mean_and_std_per_channel() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    found = Preprocess(48, 48, scale=1 / 255, mean=mean, std=std)(IMAGES)
    expected = (IMAGES / 255 - np.array(mean)) / np.array(std)
    np.testing.assert_allclose(found, expected.transpose(0, 3, 1, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("color", "scale", "mean", "std"),
    [
        ("RGB", 1 / 127.5, (1.0,), (1.0,)),
        ("BGR", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("RGB", 1.0, (103.939, 116.779, 123.68), (1.0,)),
        ("GREY", 1 / 255, (0.1307,), (0.3081,)),
        ("RGB", 1e300, (0.0,), (1e-10,)),
    ],
)
def test_values_of_a_table_have_the_bytes_of_the_formula(
    color: Color, scale: float, mean: tuple[float, ...], std: tuple[float, ...], layout: Layout
) -> None:
    """Every pixel value in every channel, also where the formula overflows."""
    made = Preprocess(16, 48, layout, color, "squash", scale, mean, std)
    pixels = np.stack([np.roll(np.arange(768), 300 * k).reshape(16, 48) for k in range(made.channels)], axis=-1)[None]
    pixels = pixels.astype(np.uint8)
    with np.errstate(over="ignore"):
        expected = ((pixels.astype(np.float64) * scale - np.asarray(mean)) / np.asarray(std)).astype(np.float32)
        found = made.values(pixels)
    expected = np.ascontiguousarray(expected.transpose(0, 3, 1, 2)) if layout == "NCHW" else expected
    assert (found.shape, found.dtype, found.flags.c_contiguous) == (expected.shape, expected.dtype, True)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("source", "target"), [(7, 7), (32, 224), (224, 32), (225, 100), (1, 5), (5, 1)])
def test_resize_matrix_is_pillows_bilinear_filter(source: int, target: int) -> None:
    line = RNG.standard_normal(source).astype(np.float32)
    image = Image.fromarray(np.repeat(line[None], 4, axis=0))
    expected = np.asarray(image.resize((target, 4), Image.Resampling.BILINEAR))[0]
    np.testing.assert_allclose(resize_matrix(source, target) @ line, expected, atol=1e-5)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize(("height", "width"), [(24, 24), (12, 24), (24, 12), (90, 60)])
def test_a_mark_returns_to_its_place(resize: Resize, height: int, width: int) -> None:
    """A bright blob, preprocessed like an image and returned like a map, is where it was."""
    probe = np.zeros((1, 48, 48, 3), np.uint8)
    probe[0, 20:26, 24:30] = 255
    made = Preprocess(height, width, resize=resize, color="GREY", scale=1 / 255, mean=(0.0,))
    rows, columns = made.inverse(48)
    returned = rows @ made(probe)[0, 0] @ columns.T
    y, x = np.indices((48, 48))
    assert (returned * y).sum() / returned.sum() == pytest.approx(22.5, abs=0.75)
    assert (returned * x).sum() / returned.sum() == pytest.approx(26.5, abs=0.75)


def test_crop_leaves_the_cut_edges_without_relevance() -> None:
    rows, columns = Preprocess(16, 32, resize="crop").inverse(64)
    returned = rows @ np.ones((16, 32)) @ columns.T
    assert returned[:16].max() == returned[48:].max() == 0
    np.testing.assert_allclose(returned[16:48], 1)


def test_pad_drops_what_lies_outside_the_image() -> None:
    made = Preprocess(16, 32, resize="pad", color="GREY", scale=1.0, mean=(0.0,))
    seen = made(np.full((1, 64, 64, 3), 200, np.uint8))[0, 0]
    assert seen[:, :8].max() == seen[:, 24:].max() == 0
    assert seen[:, 8:24].min() == 200
    rows, columns = made.inverse(64)
    outside = np.ones((16, 32))
    outside[:, 8:24] = 0
    assert np.abs(rows @ outside @ columns.T).max() == 0


def test_photos_of_16_bits_and_of_other_modes_are_read_as_they_look(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(64, axis=0)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    Image.fromarray((ramp // 257).astype(np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray((ramp // 257).astype(np.uint8)).convert("CMYK").save(tmp_path / "print.tif")
    first, second, third = (read_square(tmp_path / name, 64) for name in ("deep.png", "grey.png", "print.tif"))
    np.testing.assert_array_equal(first, second)
    assert np.abs(third.astype(int) - second).max() <= 2


def test_the_upright_centre_of_a_photo_is_taken(tmp_path: Path) -> None:
    """Wide, red at the left edge, marked as lying on its side: upright and cropped, no red is left."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :20, 0] = 255
    pixels[:10, :, 1] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate clockwise by a quarter to see it upright
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=exif)
    found = read_square(tmp_path / "photo.png", 40)
    assert found[..., 0].max() == 0
    assert found[:, 30:, 1].min() == 255
    assert found[:, :29, 1].max() == 0
