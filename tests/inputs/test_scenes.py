"""The generated probe images: the same bytes everywhere, the statistics of natural images."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.inputs import noise_fields, scene_shapes, scene_surfaces, scenes
from onnxspace.inputs.scenes import render

HASHES = {
    (0, 0, 64): "dc7f8ef58b81bc1b99c4b71048db881e1c946d9125359bab105e34dca3cd7326",
    (0, 1, 64): "6682fe512ce7009b4d34d620eebe838e081536d06b39f3d049b90068b090c20c",
    (7, 3, 64): "c396c13ec0b500fb997eade3211a22481a730e727a5646eea502d21cdfb5970d",
    (0, 0, 224): "003d5a893a08c9087c0a67c1c95ecb4c53df5566d42ed13f098c59256acbcbc8",
    (0, 5, 224): "3510469bcc322cc065e7d61b9382c2555df28c1e099b694bb03db326a5e08bc0",
}
EXACT_NUMPY = {
    *("abs", "floor", "sqrt", "minimum", "maximum", "where"),
    *("arange", "array", "full", "zeros", "ascontiguousarray"),
    *("float64", "int64", "uint8", "uint64"),
}
EXACT_MATH = {"floor", "sqrt"}
INEXACT = {
    *("sin", "cos", "tan", "arctan2", "exp", "log", "log2", "power", "pow", "hypot", "cbrt"),
    *("sum", "mean", "std", "var", "prod", "cumsum", "dot", "matmul", "einsum", "inner", "fsum"),
    *("fft", "random", "linalg", "default_rng", "hash"),
}
IMPORTS = {
    "__future__", "math", "dataclasses", "numpy", "numpy.typing", "onnxspace.inputs.noise_fields", "onnxspace.inputs.scene_shapes",
    "onnxspace.inputs.scene_surfaces",
}  # fmt: skip


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.stack([render(0, index, 128) for index in range(16)])


@pytest.fixture(scope="module")
def luminance(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey: NDArray[np.float64] = images @ np.array([0.2126, 0.7152, 0.0722]) / 255.0
    return grey


@pytest.mark.parametrize(("seed", "index", "size"), HASHES)
def test_bytes_are_fixed(seed: int, index: int, size: int) -> None:
    digest = hashlib.sha256(render(seed, index, size).tobytes()).hexdigest()
    assert digest == HASHES[seed, index, size]


@pytest.mark.parametrize("size", [16, 17, 100, 1024])
def test_shape_and_type(size: int) -> None:
    image = render(3, 2, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.ptp(image) > 60


def test_no_invalid_arithmetic() -> None:
    with np.errstate(divide="raise", invalid="raise", over="raise"):
        for index in range(24):
            render(1, index, 16 + 3 * index)


def test_image_depends_on_its_index_alone(images: NDArray[np.uint8]) -> None:
    for index in (11, 4, 0):
        assert np.array_equal(render(0, index, 128), images[index])
    assert np.array_equal(render(np.int64(0), np.int64(4), np.int64(128)), images[4])  # type: ignore[arg-type]


def test_seeds_and_indices_differ(images: NDArray[np.uint8]) -> None:
    drawn = [*images, *(render(seed, 0, 128) for seed in (1, 2, -1, 2**40))]
    coarse = [image[4::8, 4::8].astype(float) for image in drawn]
    for k, image in enumerate(coarse):
        for other in coarse[:k]:
            assert np.abs(image - other).mean() > 15


def test_power_spectrum_falls_like_that_of_natural_images(luminance: NDArray[np.float64]) -> None:
    """By this estimate sets of 64 photos give −2.4 (mixed subjects) and −2.7 (rooms), white noise 0."""
    size = luminance.shape[1]
    window = np.hanning(size)[:, None] * np.hanning(size)
    centred = luminance - luminance.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(centred * window)) ** 2).mean(axis=0)
    cycles = np.fft.fftfreq(size) * size
    radius = np.rint(np.hypot(cycles[:, None], cycles)).astype(int).ravel()
    radial = np.bincount(radius, power.ravel()) / np.bincount(radius)
    band = np.arange(4, size // 4 + 1)
    slope = np.polyfit(np.log(band), np.log(radial[band]), 1)[0]
    assert -2.8 < slope < -1.8


def test_differences_are_heavy_tailed(luminance: NDArray[np.float64]) -> None:
    steps = np.diff(luminance, axis=2)
    kurtosis = (steps**4).mean(axis=(1, 2)) / (steps**2).mean(axis=(1, 2)) ** 2
    assert 8 < np.median(kurtosis) < 40
    assert kurtosis.min() > 4


def test_brightness_and_contrast(luminance: NDArray[np.float64]) -> None:
    levels, contrasts = luminance.mean(axis=(1, 2)), luminance.std(axis=(1, 2))
    assert 0.3 < levels.mean() < 0.6
    assert np.ptp(levels) > 0.25
    assert 0.15 < contrasts.mean() < 0.25
    assert contrasts.min() > 0.06


def test_luminance_outweighs_chroma(images: NDArray[np.uint8], luminance: NDArray[np.float64]) -> None:
    red, green, blue = np.moveaxis(images / 255.0, -1, 0)
    red_green, blue_yellow = red - green, blue - (red + green) / 2
    assert 0.02 < red_green.std() < blue_yellow.std() < luminance.std()


@pytest.mark.parametrize("size", [-1, 0, 15, 1025])
def test_bad_size(size: int) -> None:
    with pytest.raises(ValueError, match=rf"between 16 and 1024 pixels, but it is {size}\."):
        render(0, 0, size)


def inexact(source: str) -> list[str]:
    """What in the source might differ between platforms or NumPy versions."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name not in IMPORTS]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names if alias.name in INEXACT]
            found += names if node.module in IMPORTS else [str(node.module)]
        elif isinstance(node, ast.Name) and node.id in INEXACT:
            found.append(node.id)
        elif isinstance(node, ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            exact = {"np": EXACT_NUMPY, "math": EXACT_MATH}.get(owner)
            if node.attr in INEXACT or (exact is not None and node.attr not in exact):
                found.append(node.attr)
        elif isinstance(node, ast.Pow | ast.MatMult):
            found.append(type(node).__name__)
    return found


@pytest.mark.parametrize("module", [scenes, scene_shapes, scene_surfaces, noise_fields])
def test_source_uses_exact_operations_only(module: ModuleType) -> None:
    assert inexact(Path(str(module.__file__)).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        *("np.sin(x)", "math.cos(x)", "np.exp(x)", "np.log(x)", "np.power(x, 2)", "x ** 2"),
        *("sum(x)", "x.sum()", "np.mean(x)", "x.dot(y)", "x @ y", "np.matmul(x, y)", "x @= y"),
        *("np.fft.fft2(x)", "np.random.rand()", "import random", "from random import gauss"),
        *("from math import sin", "np.add.reduce(x)", "from scipy import stats"),
    ],
)
def test_inexact_operations_are_found(source: str) -> None:
    assert inexact(source) != []
