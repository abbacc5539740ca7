"""Bootstrap intervals, leads and settled rankings against their definitions, from maps and from fingerprints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.errors import ConfigError
from onnxspace.similarity import certainty as module
from onnxspace.similarity.certainty import Certainty, estimate_certainty
from onnxspace.similarity.fingerprints.count_sketch import affinities, project
from onnxspace.similarity.per_image import PerImageAffinities, read_one_target
from onnxspace.similarity.ranking import rank
from onnxspace.storage.map_file import to_unit_maps
from tests.oracles import spaces


def made(images: int, models: int, seed: int = 0, spread: float = 0.1) -> NDArray[np.float64]:
    """Cosines [images, models] with a target at position 0, the further behind the larger a model's number."""
    noise = np.random.default_rng(seed).standard_normal((images, models)) * spread
    found = 0.9 - 0.1 * np.arange(models) + noise
    found[:, 0] = 1
    return np.clip(found, -1, 1)


def from_cosines(cosines: NDArray[np.float64]) -> PerImageAffinities:
    images, models = cosines.shape
    return PerImageAffinities(
        cosines.astype(np.float32), np.zeros(models, bool), np.zeros((images, 0), np.float32), np.zeros(images, np.float32)
    )


def found(cosines: NDArray[np.float64], resamples: int = 300, seed: int = 0) -> Certainty:
    """Of the model at position 0."""
    names = [f"m{i}" for i in range(cosines.shape[1])]
    means = np.tile(cosines.astype(np.float32).mean(axis=0, dtype=np.float64), (len(names), 1))
    return estimate_certainty(rank(names, means, "m0"), names, from_cosines(cosines), resamples, seed)


def drawn_images(images: int, resamples: int, seed: int = 0) -> NDArray[np.float64]:
    return module._draw_weights(images, resamples, np.random.default_rng(seed))


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rows = [found(made(80, 3, seed), seed=seed).sources[0] for seed in range(60)]
    assert 0.85 <= np.mean([row.low <= 0.8 <= row.high for row in rows]) <= 1


def test_width_is_that_of_the_normal_approximation() -> None:
    row = found(made(400, 4), 2000).sources[1]
    assert (row.source, row.low < row.value < row.high) == ("m2", True)
    assert row.high - row.low == pytest.approx(2 * 1.96 * made(400, 4)[:, 2].std() / np.sqrt(400), rel=0.1)


def test_leads_are_counted_one_by_one_and_copies_tie() -> None:
    cosines = made(12, 5, spread=0.5)
    cosines[:, 4] = cosines[:, 3] + 1e-7
    sure = found(cosines, 200, seed=3)
    drawn = drawn_images(12, 200, 3) @ cosines
    places = [int(row.source[1:]) for row in sure.sources]
    for row, a, b in zip(sure.sources, places, places[1:], strict=False):
        assert row.ahead == pytest.approx(0.5 if {a, b} == {3, 4} else spaces.ahead(drawn, 0, a, b))
    assert abs(places.index(3) - places.index(4)) == 1
    assert sure.sources[-1].ahead is None


def test_same_seed_same_result() -> None:
    assert found(made(20, 4), seed=1) == found(made(20, 4), seed=1)
    assert found(made(20, 4), seed=1) != found(made(20, 4), seed=2)


def test_weights_count_every_draw() -> None:
    weights = drawn_images(7, 50)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    np.testing.assert_allclose(weights * 7, np.round(weights * 7), atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 10**6), st.integers(2, 9))
def test_settled_and_the_rest_are_their_definitions_in_any_stretches(images: int, models: int, seed: int, stretch: int) -> None:
    cosines = np.random.default_rng(seed).integers(-4, 5, (images, models)) / 4  # exact sums, many ties
    cosines[:, 0] = 1
    whole = found(cosines, 9, seed)
    assert whole.settled == spaces.settled(cosines, [int(row.source[1:]) for row in whole.sources])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STRETCH", 2**stretch)
        parts = found(cosines, 9, seed)
    assert parts.settled == whole.settled
    for a, b in zip(parts.sources, whole.sources, strict=True):
        assert (a.source, a.ahead) == (b.source, b.ahead)
        np.testing.assert_allclose((a.low, a.high), (b.low, b.high), atol=1e-12)


def test_settled_of_clear_and_of_late_rankings() -> None:
    assert found(made(30, 4, spread=0.0)).settled == 1
    late = made(30, 3, spread=0.0)
    late[-1, 1], late[:-1, 1] = 1.0, late[0, 2] - 0.001
    assert found(late).settled == 30


def test_alone_there_is_nothing_to_rank() -> None:
    assert (found(made(5, 1)).sources, found(made(5, 1)).settled) == ((), 1)


def test_no_resample_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        found(made(3, 2), 0)


IMAGES, PIXELS, NUMBERS = 7, 60, 16


@pytest.fixture
def maps(tmp_path: Path) -> list[Path]:
    """Files of four models' unit maps; the third has a zero map."""
    shared = np.random.default_rng(9).standard_normal((IMAGES, PIXELS))
    rows = [shared + np.random.default_rng(k).standard_normal((IMAGES, PIXELS)) for k in range(4)]
    rows[2][4] = 0
    for number, row in enumerate(rows):
        np.save(tmp_path / f"{number}.npy", to_unit_maps(row)[0])
    return [tmp_path / f"{number}.npy" for number in range(4)]


def prints_of(maps: Sequence[Path]) -> NDArray[np.float16]:
    return np.stack([project(np.load(path), NUMBERS).astype(np.float16) for path in maps])


def test_evidence_from_maps_and_prints_gives_the_affinity_of_any_resample(maps: list[Path]) -> None:
    """Against affinities of the images themselves, repeated as they were drawn."""
    prints = prints_of(maps)
    picks = [[0, 1, 2, 3, 4, 5, 6], [4, 4, 4, 1, 0, 0, 6], [4] * 7]
    weights = np.array([np.bincount(pick, minlength=IMAGES) for pick in picks]) / IMAGES
    columns = np.array([3, 2, 1, 0])
    for target in range(4):
        files = [maps[0], maps[1], None, maps[3]]
        known = read_one_target(target, files, lambda i: prints[i])
        means = known.means(lambda values: weights @ values, columns)
        for pick, row in zip(picks, means, strict=True):
            for column, value in zip(columns, row, strict=True):
                whole = [np.load(maps[i])[pick] for i in (target, int(column))]
                expected = spaces.cosines(whole[:1], whole[1:])[:, 0, 0].mean()
                if target == 2 or column == 2:
                    expected = affinities(prints[[target]][:, pick], prints[[column]][:, pick])[0][0, 0]
                assert value == pytest.approx(expected, abs=2e-6), (target, column, pick)
    assert known.images == IMAGES


def test_where_all_have_maps_no_print_is_asked_for(maps: list[Path]) -> None:
    known = read_one_target(1, maps, lambda i: pytest.fail("asked for"))
    np.testing.assert_allclose(known.products[:, [0]], spaces.cosines([np.load(maps[1])], [np.load(maps[0])])[:, 0], atol=1e-6)
    assert not known.printed.any()


def test_more_than_the_memory_allows_is_refused(maps: list[Path]) -> None:
    with pytest.raises(ConfigError, match="more than"):
        read_one_target(0, maps, lambda i: pytest.fail("asked for"), memory=8)


def test_intervals_from_prints_hold_their_standard_error_too(tmp_path: Path) -> None:
    """Every image has one cosine: what varies is the sketch alone, by its standard error (1 − a²)/√(k·N)."""
    rng, images = np.random.default_rng(0), 400
    first = to_unit_maps(rng.standard_normal((images, 500)))[0].astype(np.float64)
    second = to_unit_maps(rng.standard_normal((images, 500)))[0].astype(np.float64)
    second -= (first * second).sum(axis=1, keepdims=True) * first
    both = np.stack(
        [project(to_unit_maps(rows)[0], NUMBERS).astype(np.float16) for rows in (first, 0.6 * first + 0.8 * second)]
    )
    values, errors = affinities(both, both)
    sure = estimate_certainty(rank(["a", "b"], values, "a"), ["a", "b"], read_one_target(0, [None, None], lambda i: both[i]))
    width = sure.sources[0].high - sure.sources[0].low
    assert width == pytest.approx(2 * 1.96 * errors[0, 1], rel=0.15)
