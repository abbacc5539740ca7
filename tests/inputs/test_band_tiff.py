"""TIFF files of several bands: every form that is read gives the numbers that were written; others are refused in a sentence."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxspace.errors import ProbeError
from onnxspace.inputs.band_tiff import open_band_tiff, read_values
from onnxspace.inputs.probes import Probes
from tests.helpers.tiffs import numbers, pack_bits, pack_lzw, write_tiff


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"deflate": True},
        {"tile": 16},
        {"tile": 16, "deflate": True},
        {"deflate": True, "predict": True},
        {"rows": 20},
        {"pack": pack_lzw},
        {"pack": pack_lzw, "predict": True},
        {"pack": pack_lzw, "tile": 16},
        {"pack": pack_bits},
        {"pack": pack_bits, "tile": 16},
    ],
)
@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
def test_numbers_are_those_written(tmp_path: Path, kind: str, form: dict[str, Any], separate: bool, order: str) -> None:
    values = numbers(kind)
    found = open_band_tiff(write_tiff(tmp_path / "x.tif", values, order, separate=separate, **form))
    assert found is not None
    np.testing.assert_array_equal(read_values(found), values)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "u4", "i4"])
def test_other_kinds_of_numbers(tmp_path: Path, kind: str) -> None:
    found = open_band_tiff(write_tiff(tmp_path / "x.tif", numbers(kind)))
    assert found is not None
    np.testing.assert_array_equal(read_values(found), numbers(kind))


def test_pillow_reads_the_same_of_three_bands(tmp_path: Path) -> None:
    values = numbers("u1", bands=3)
    path = write_tiff(tmp_path / "x.tif", values, t262=(2,))
    assert open_band_tiff(path) is None
    np.testing.assert_array_equal(np.asarray(Image.open(path)), values)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_photos_stay_photos(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (20, 20)).save(tmp_path / "photo.tif")
    assert open_band_tiff(tmp_path / "photo.tif") is None


def test_folder_of_bands(tmp_path: Path) -> None:
    values = [numbers("u2", height=20), numbers("u2", height=40) * 2]
    for place, one in enumerate(values):
        write_tiff(tmp_path / f"{place}.tif", one, deflate=True)
    found = Probes.from_folder(tmp_path)
    assert (found.bands, found.size, len(found)) == (5, 33, 2)
    square = Probes.from_folder(tmp_path, size=20)
    top = max(one.max() for one in values)
    np.testing.assert_array_equal(square.images[0], np.rint(values[0][:, 6:26].astype(float) * 255 / top).astype(np.uint8))


def test_pillows_own_lzw_file(tmp_path: Path) -> None:
    values = numbers("u1", bands=3)
    Image.fromarray(values).save(tmp_path / "rgb.tif", compression="tiff_lzw")
    content = bytearray((tmp_path / "rgb.tif").read_bytes())
    assert open_band_tiff(tmp_path / "rgb.tif") is None
    place = content.index(struct.pack("<HHI", 262, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", 1)  # three bands instead of red, green and blue
    (tmp_path / "bands.tif").write_bytes(content)
    found = open_band_tiff(tmp_path / "bands.tif")
    assert found is not None
    np.testing.assert_array_equal(read_values(found), values)


def test_files_of_other_bands_are_refused(tmp_path: Path) -> None:
    write_tiff(tmp_path / "0.tif", numbers("u1"))
    write_tiff(tmp_path / "1.tif", numbers("u1", bands=6))
    with pytest.raises(ProbeError, match=r"1\.tif has another number of bands than the first image, 5"):
        Probes.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("changed", "phrase"),
    [
        ({"t259": (50000,)}, "form of TIFF that is not read"),
        ({"t259": (5,)}, "damaged"),
        ({"t258": (12,) * 5}, "form of TIFF that is not read"),
        ({"t258": (8, 8, 16, 8, 8)}, "form of TIFF that is not read"),
        ({"t317": (3,)}, "form of TIFF that is not read"),
        ({"t256": (2**31,)}, "too large"),
        ({"t277": (5000,)}, "too large"),
        ({"t278": (0,)}, "damaged"),
        ({"t273": (8,)}, "damaged"),
        ({"t273": (2**31, 8, 8)}, "damaged"),
        ({"t279": (1, 1, 1)}, "damaged"),
        ({"t322": (1,), "t323": (1,), "t324": (8,), "t325": (1,)}, "damaged"),
    ],
)
def test_damaged_and_hostile_files(tmp_path: Path, changed: dict[str, tuple[int, ...]], phrase: str) -> None:
    write_tiff(tmp_path / "x.tif", numbers("u1"), **changed)
    with pytest.raises(ProbeError, match=rf"x\.tif .*{phrase}"):
        Probes.from_folder(tmp_path)


def test_truncated_anywhere(tmp_path: Path) -> None:
    content = write_tiff(tmp_path / "x.tif", numbers("u1", height=8, width=8), deflate=True).read_bytes()
    for length in range(0, len(content), 9):
        (tmp_path / "x.tif").write_bytes(content[:length])
        with pytest.raises(ProbeError, match=r"x\.tif"):
            Probes.from_folder(tmp_path)
