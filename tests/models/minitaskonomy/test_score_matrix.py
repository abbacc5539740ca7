"""Matrices of scores made of pieces, and scores made of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.minitaskonomy.study import (
    jobs,
    map_similarity,
    score_matrix,
)
from tests.models.minitaskonomy.helpers import (
    make_score,
    make_zoo,
)


def test_scores_of_maps_at_n_images_are_means_over_the_first_n(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path, ("depth", "normals", "object"), ("depth-vit",))
    pairs = map_similarity.compute_cosines(rng.standard_normal((40, 4, 16)).astype(np.float32))
    found = score_matrix.read_scores(
        jobs.Job("maps", "rooms", jobs.MAPS[0]), {"elrp from zero": pairs, "elrp from blur": pairs}, zoo
    )
    plain = {(one.options, one.images): one.values for one in found if score_matrix.COMMON not in one.options}
    assert sorted(plain) == [(o, n) for o in ("", "from blur") for n in (8, 16, 32)]
    expected = map_similarity.unpack_pairs(pairs, 4)[:16].mean(axis=0)[:3]
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(plain["", 16], expected)


def test_depara_is_maps_and_edges(tmp_path: Path, rng: np.random.Generator) -> None:
    zoo = make_zoo(tmp_path, ("depth", "normals", "object", "scene"))
    nodes, edges = ((lambda m: (m + m.T) / 2)(rng.random((4, 4))) for _ in range(2))
    some = [
        make_score(nodes, "gradient-x-input"),
        make_score(edges, "edges", "features"),
        make_score(edges, "edges", "features", images=8),
    ]
    found = {one.options: one.values for one in score_matrix.mix_depara(some, zoo)}
    np.testing.assert_allclose(found["λ 0.25"], nodes + 0.25 * edges)
    upper = np.triu_indices(4, 1)
    np.testing.assert_allclose(found["λ auto"], nodes + nodes[upper].std() / edges[upper].std() * edges)


def test_mean_ranks_leave_out_what_has_no_value() -> None:
    values = np.array([[np.nan, 0.5, 0.9, 0.5]])
    np.testing.assert_array_equal(score_matrix.rank(values), [[np.nan, -2.5, -1, -2.5]])
