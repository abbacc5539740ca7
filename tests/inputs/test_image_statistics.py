"""Statistics of images without a network: what they respond to, and that pictures are assigned to their own domain."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import energy_distance as of_scipy

from onnxspace.inputs.image_statistics import MOST_DESCRIBED, NUMBERS, describe_images, energy_distance, rank_sets
from onnxspace.inputs.probes import Probes


def stripes(*, across: bool, period: int = 16, count: int = 8) -> NDArray[np.uint8]:
    """Images of vertical or horizontal stripes, each shifted and noisy."""
    rng, found = np.random.default_rng(period), []
    for _ in range(count):
        wave = np.sin((np.arange(96) + rng.integers(period)) * 2 * np.pi / period)
        one = np.tile(wave, (96, 1)) * 90 + 128 + rng.normal(0, 5, (96, 96))
        found.append(one.T if across else one)
    return np.repeat(np.clip(found, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def test_edges_and_power_are_where_they_are() -> None:
    upright, lying = (describe_images(stripes(across=across)) for across in (False, True))
    assert upright[:, 19:27].argmax(1).tolist() == [0] * 8
    assert lying[:, 19:27].argmax(1).tolist() == [4] * 8
    coarse, fine = (describe_images(stripes(across=True, period=period))[:, 9:19].argmax(1).mean() for period in (48, 6))
    assert coarse + 4 < fine
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_allclose(describe_images(red)[0, :9], [1 / 3, 0.5, 0.25, *[0] * 6], atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 16, 16, 3), (2, 100, 100, 1), (2, 70, 70, 5), (700, 16, 16, 3), (1, 64, 64, 2)])
def test_any_images_are_described(shape: tuple[int, ...]) -> None:
    found = describe_images(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    assert found.shape == (min(shape[0], MOST_DESCRIBED), NUMBERS)
    assert np.isfinite(found).all()


def test_the_distance_is_that_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(40, 1)), rng.normal(1, 2, size=(50, 1))
    biased = 2 * np.abs(a - b.T).mean() - np.abs(a - a.T).mean() - np.abs(b - b.T).mean()
    assert np.sqrt(biased) == pytest.approx(of_scipy(a[:, 0], b[:, 0]))
    within = np.abs(a - a.T).sum() / (40 * 39) + np.abs(b - b.T).sum() / (50 * 49)
    assert energy_distance(a, b) == pytest.approx(2 * np.abs(a - b.T).mean() - within)
    assert energy_distance(a, a[:1]) == pytest.approx(2 * np.abs(a - a[0]).mean() - np.abs(a - a.T).sum() / (40 * 39))


def test_pictures_are_assigned_to_their_own_set() -> None:
    generated = Probes.generate(12, 64).images
    sets = {"upright": stripes(across=False), "lying": stripes(across=True), "generated": generated[:6]}
    described = {name: describe_images(images) for name, images in sets.items()}
    pictures = {
        "upright": stripes(across=False, period=12),
        "lying": stripes(across=True, period=12),
        "generated": generated[6:],
    }
    assert [rank_sets(describe_images(images), described)[0][0] for images in pictures.values()] == list(pictures)
    distances = dict(rank_sets(described["lying"], described))
    assert distances["lying"] < 0.1 < distances["upright"]
