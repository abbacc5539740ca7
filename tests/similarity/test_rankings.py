"""Places, brackets and mean ranks, against loops and SciPy; what a ranking says of its reliability."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxspace.similarity.certainty import estimate_certainty, find_brackets
from onnxspace.similarity.mean_rank import combine_many, combine_ranks
from onnxspace.similarity.per_image import PerImageRanks, PerImageShares
from onnxspace.similarity.ranking import Ranking, bracket_ties, rank
from onnxspace.similarity.reliability import Measurement, describe_reliability, find_evidence

NAMES = ["t", "a", "b", "c", "d"]


def shares(accuracies: list[float], images: int, seed: int = 0) -> PerImageShares:
    """Per-image misses of sources that answer rightly in such shares of the images; the target itself is the first."""
    rng = np.random.default_rng(seed)
    missed = np.column_stack([rng.random(images) > accuracy for accuracy in (1.0, *accuracies)]).astype(float)
    return PerImageShares(missed, np.ones_like(missed))


def ranking_of(known: PerImageShares) -> Ranking:
    values = 1 - known.missed.mean(axis=0)
    return rank(NAMES, np.tile(values, (5, 1)), "t")


def test_brackets_begin_where_the_first_is_clearly_ahead() -> None:
    """Against a bootstrap in loops."""
    known = shares([0.9, 0.9, 0.5, 0.5], 200)
    ranking = ranking_of(known)
    draws = np.random.default_rng(0).integers(0, 200, size=(1000, 200))
    expected, first = [], ""
    for source, _ in ranking.sources:
        ahead = 1.0
        if first:
            lead = known.missed[:, NAMES.index(source)] - known.missed[:, NAMES.index(first)]
            ahead = float(np.mean([lead[draw].mean() > 1e-5 for draw in draws]))
        if ahead >= 0.975:
            first, expected = source, [*expected, max(expected, default=0) + 1]
        else:
            expected.append(expected[-1])
    assert find_brackets(ranking, NAMES, known) == tuple(expected)
    assert expected == [1, 1, 2, 2]


def test_few_images_put_all_in_one_bracket() -> None:
    known = shares([0.8, 0.7, 0.7, 0.6], 12)
    assert set(find_brackets(ranking_of(known), NAMES, known)) == {1}


def test_brackets_of_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    known = shares([0.95, 0.9, 0.5, 0.45], 200)
    whole = find_brackets(ranking_of(known), NAMES, known)
    assert estimate_certainty(ranking_of(known), NAMES, known).brackets == whole
    monkeypatch.setattr("onnxspace.similarity.certainty._STRETCH", 1000)
    assert find_brackets(ranking_of(known), NAMES, known) == whole
    assert estimate_certainty(ranking_of(known), NAMES, known).brackets == whole


def test_mean_ranks_are_drawn_again_from_their_members() -> None:
    parts = (shares([0.9, 0.8, 0.4, 0.3], 50), shares([0.8, 0.9, 0.3, 0.4], 50, seed=1))
    known = PerImageRanks(parts, np.array([1, 2, 4]))
    weights = np.random.default_rng(0).dirichlet(np.ones(50), 3)
    found = known.means(lambda values: weights @ values, np.array([4, 1, 3]))
    for row, weight in zip(found, weights, strict=True):
        ranks = [scipy.stats.rankdata([weight @ one.missed[:, j] for j in (1, 2, 4)]) for one in parts]
        values = 1 - (np.mean(ranks, axis=0) - 1) / 2
        assert row[:2] == pytest.approx([values[2], values[0]])
        assert np.isnan(row[2])


@given(st.lists(st.lists(st.integers(0, 4), min_size=6, max_size=6), min_size=1, max_size=3))
def test_mean_ranks_are_scipys(values: list[list[int]]) -> None:
    matrix: NDArray[np.float64] = np.array(values, float)[:, None]
    expected = 1 - (np.mean([scipy.stats.rankdata(-row) for row in matrix[:, 0]], axis=0) - 1) / 5
    np.testing.assert_allclose(combine_ranks(matrix)[0], expected)
    np.testing.assert_allclose(combine_many(matrix)[0], expected)
    np.testing.assert_allclose(combine_ranks(matrix + np.linspace(0, 1e-7, 6))[0], expected)


def test_a_score_without_values_does_not_count_and_a_source_without_one_has_none() -> None:
    nan = np.nan
    values = np.array([[[1.0, 2, 3, nan]], [[nan, nan, nan, nan]]])
    np.testing.assert_array_equal(combine_ranks(values), [[0, 0.5, 1, nan]])
    assert np.isnan(combine_ranks(np.full((2, 1, 3), nan))).all()


def test_equal_values_share_a_place_and_a_bracket() -> None:
    found = rank(NAMES, np.array([[1, 0.5, 0.5 + 1e-7, np.nan, 0.7]] * 5), "t")
    assert [source for source, _ in found.sources] == ["d", "b", "a"]
    assert (found.places, found.brackets, found.unranked) == ((1, 2, 2), (1, 2, 2), ("c",))
    assert bracket_ties(()) == ()
    rows = found.to_dict()["sources"]
    assert rows[-1] == {"source": "c", "value": None, "place": None, "bracket": None}


@pytest.mark.parametrize(
    ("by", "evidence", "kin", "title"),
    [
        ("attribution", "none", True, "Most alike to t, by affinity of maps"),
        ("attribution", "pictures", True, "Most alike to t, by affinity of maps"),
        ("predictivity", "none", True, "Most alike to t, by predictivity"),
        ("mean_rank", "pictures", False, "Sources for t, best first by mean_rank"),
    ],
)
def test_only_pictures_and_features_recommend(by: str, evidence: str, kin: bool, title: str) -> None:
    found = Ranking("t", (), by, evidence)  # type: ignore[arg-type]
    assert (found.lists_kin, found.title) == (kin, title)


def test_reliability_is_the_mean_over_zoos_in_words() -> None:
    rows = {("pictures", "cka"): [Measurement("a", "frozen", 4.0, 15.0, 0.4), Measurement("b", "frozen", 6.0, 17.0, 0.5)]}
    assert describe_reliability("pictures", "cka", rows) == (  # type: ignore[arg-type]
        "On zoos with known readouts of frozen networks, the first of such a ranking lost 5 points of accuracy on average; a random choice 16."
    )
    assert "not been measured" in describe_reliability("pictures", "rsa", rows)  # type: ignore[arg-type]
    assert "not which one to start from" in describe_reliability("none", "attribution", {})
    assert (find_evidence("generated-12"), find_evidence("generated"), find_evidence("rooms")) == (
        "none",
        "pictures",
        "pictures",
    )
