"""Signatures, statistics and orders of axes, against NumPy in double precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnxspace.differences.child import alignment
from onnxspace.differences.child.layouts import arrange, find_order
from onnxspace.differences.child.signatures import Signature, measure_distance, measure_order_distance, measure_signature
from onnxspace.differences.child.statistics import PairStatistics


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * rng.uniform(0.5, 2, (*shape[:2], *[1] * (len(shape) - 2)))).astype(np.float32)


def test_values_whose_squares_are_beyond_single_precision_have_finite_signatures() -> None:
    found = measure_signature(np.full((1, 4, 9, 9), 3e38, np.float32))
    assert all(np.isfinite(one).all() for one in (found.quantiles, found.sketch, found.lengths))


def test_a_signature_does_not_depend_on_the_layout() -> None:
    values = draw(1, 6, 9, 7)
    one, other = measure_signature(values), measure_signature(values.transpose(0, 2, 3, 1))
    assert measure_distance(one, other) == 0
    assert measure_order_distance(one, other) == pytest.approx(0, abs=1e-6)


def test_another_order_of_channels_has_the_same_values_at_other_places() -> None:
    values = draw(1, 6, 9, 7)
    one, other = measure_signature(values), measure_signature(values[:, ::-1])
    assert measure_distance(one, other) == 0
    assert measure_order_distance(one, other) > 0.01


@pytest.mark.parametrize(("noise", "low", "high"), [(1e-6, 0.0, 1e-5), (0.1, 1e-3, 0.1)])
def test_distances_are_of_the_size_of_the_difference(noise: float, low: float, high: float) -> None:
    values = draw(1, 6, 40, 40)
    found = measure_distance(measure_signature(values), measure_signature(values + noise * draw(1, 6, 40, 40, seed=1)))
    assert low <= found <= high


def test_other_sizes_are_infinitely_far_apart() -> None:
    assert measure_distance(measure_signature(draw(1, 4)), measure_signature(draw(1, 5))) == float("inf")


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    values = draw(1, 10)
    values[0, :2] = np.nan, np.inf
    found = measure_signature(values)
    assert found.bad == pytest.approx(0.2)
    assert np.isfinite(found.quantiles).all()


def test_the_order_of_axes_is_found() -> None:
    values = draw(1, 6, 6, 6)
    turned = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
    order = find_order(values, turned)
    assert order == (1, 2, 0)
    assert (arrange(values, order, turned.shape) == turned).all()
    assert find_order(values, values) is None


def test_statistics_of_several_images_are_those_of_all_values() -> None:
    old, new = draw(3, 50), draw(3, 50, seed=1)
    old[0, 0], old[1, 1] = 7e4, 1e-9
    found = PairStatistics(None, 2.0)
    for one, two in zip(old, new, strict=True):
        found.add(one, two)
    row, gap = found.to_dict(), new.astype(np.float64) - old
    assert row["max_error"] == pytest.approx(np.abs(gap).max())
    assert row["relative_error"] == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(old), rel=1e-5)
    assert row["old_range"] == pytest.approx([old.min(), old.max()])
    assert (row["half_overflow"], row["half_underflow"]) == (1 / 150, 1 / 150)
    assert row["int8_saturated"] == pytest.approx((np.abs(new) > 2 * (1 + 0.5 / 127)).mean())


def test_equal_tensors_have_no_ratio_to_noise() -> None:
    found = PairStatistics(None, 1.0)
    found.add(draw(1, 9), draw(1, 9))
    assert (found.to_dict()["snr_db"], found.to_dict()["relative_error"]) == (None, 0.0)


def test_equal_values_of_many_nodes_are_searched_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of equal points takes a time that grows with their square."""
    both = [measure_signature(draw(1, 3, 4, 5, seed=seed % 2)) for seed in range(60)]
    near = measure_signature(draw(1, 3, 4, 5) * np.float32(1 + 1e-6))
    sizes = list[int]()
    search = alignment._cluster

    def count(given: Sequence[Signature]) -> list[int]:
        sizes.append(len(given))
        return search(given)

    monkeypatch.setattr(alignment, "_cluster", count)
    assert alignment.label_alike([*both, near]) == [0, 1] * 30 + [0]
    assert sizes == [3]
