"""Places and mean ranks, against SciPy's ranks; equal values share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from onnxspace.evaluation.static_baseline import mean_ranks
from onnxspace.scores.places import find_places, find_ranks, mean_rank

Values = st.lists(st.integers(-5, 5).map(lambda n: n / 4), min_size=1, max_size=12)


@given(values=Values)
def test_places_and_ranks_are_scipys(values: list[float]) -> None:
    assert find_places(values) == rankdata([-v for v in values], "min").tolist()
    np.testing.assert_allclose(find_ranks(values), rankdata([-v for v in values]))


@given(values=Values, other=Values)
def test_the_mean_rank_is_that_of_the_static_baseline(values: list[float], other: list[float]) -> None:
    """Also where values are missing: ranks among fewer are stretched to all."""
    rows = np.full((2, max(len(values), len(other))), np.nan)
    rows[0, : len(values)], rows[1, : len(other)] = values, other
    np.testing.assert_allclose(mean_rank(rows.tolist()), mean_ranks(rows))


def test_rounding_separates_nobody_and_more_does() -> None:
    assert find_places([0.5, 0.5000001, 0.5001, 1e-12, 0.0]) == [2, 2, 1, 4, 4]
    assert find_places([float("nan")]) == [None]
    assert np.isnan(mean_rank([[float("nan"), 1.0], [float("nan"), 2.0]])[0])
