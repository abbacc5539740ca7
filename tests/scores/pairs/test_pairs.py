"""Scores of two models against slow twins with whole matrices, invariances, and what memory they take."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr

from onnxspace import scores
from onnxspace.errors import ConfigError
from onnxspace.scores.pairs.depara import edges
from tests.oracles import transfer as slow

Array = NDArray[np.float64]


def two(images: int = 40, first: int = 7, second: int = 12, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((images, 3))
    return tuple(  # type: ignore[return-value]
        shared @ rng.standard_normal((3, width)) + rng.standard_normal((images, width)) + 2 for width in (first, second)
    )


def kernel_rows(values: Array, normalise: str = "centre") -> Array:
    rows = values - values.mean(axis=0) if normalise != "none" else values
    return rows / values.std(axis=0) if normalise == "zscore" else rows


def radial(values: Array, power: int) -> Array:
    distances = slow.distances(values)
    scale = 0.5 * np.sqrt(np.median(np.square(distances[np.triu_indices(len(values), 1)])))
    return np.exp(-np.square(distances) / (2 * scale**2)) if power == 2 else np.exp(-distances / scale)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(40, 7, 12), (9, 30, 50), (700, 3, 5), (20, 5, 30)])
def test_cka_is_that_of_whole_matrices(shape: tuple[int, int, int], unbiased: bool) -> None:
    a, b = two(*shape)
    rows = [kernel_rows(values) for values in (a, b)]
    expected = slow.cka(rows[0] @ rows[0].T, rows[1] @ rows[1].T, unbiased)
    assert scores.cka(a, b, unbiased=unbiased) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("images", [40, 600])
def test_rbf_cka_is_that_of_whole_matrices(images: int, unbiased: bool) -> None:
    a, b = two(images, 5, 6)
    expected = slow.cka(radial(a, 2), radial(b, 2), unbiased)
    assert scores.cka(a, b, "rbf", unbiased) == pytest.approx(expected, rel=1e-9)


def test_minibatches_add_up_their_criteria() -> None:
    a, b = two(50)
    parts = [slice(start, start + 12) for start in range(0, 48, 12)]  # two images are left over
    sums = np.zeros(3)
    for part in parts:
        kernels = [kernel_rows(values[part]) @ kernel_rows(values[part]).T for values in (a, b)]
        sums += [slow._hsic(kernels[i], kernels[j], True) for i, j in ((0, 0), (0, 1), (1, 1))]
    expected = sums[1] / np.sqrt(sums[0] * sums[2])
    assert scores.cka(a, b, batch=12) == pytest.approx(expected, rel=1e-10)
    assert scores.cka(a, b, batch=50) == scores.cka(a, b)


def test_unbiased_cka_of_independent_features_is_about_nothing() -> None:
    """Where the plain estimate is .94 at 32 images of 512 dimensions."""
    rng = np.random.default_rng(0)
    draws = [(rng.standard_normal((32, 512)), rng.standard_normal((32, 512))) for _ in range(20)]
    assert np.mean([scores.cka(a, b, unbiased=False) for a, b in draws]) == pytest.approx(0.94, abs=0.01)
    assert abs(np.mean([scores.cka(a, b) for a, b in draws])) < 0.02


def test_linear_cka_makes_no_matrix_of_images() -> None:
    a, b = (np.random.default_rng(seed).standard_normal((6000, 16)).astype(np.float32) for seed in range(2))
    tracemalloc.start()
    scores.cka(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # 6,000 × 6,000 float64 are 288 MB


@pytest.mark.parametrize("normalise", ["zscore", "centre", "none"])
@pytest.mark.parametrize("kernel", ["cosine", "linear", "gaussian", "laplacian"])
def test_duality_diagrams_are_correlations_of_centred_matrices(kernel: str, normalise: str) -> None:
    a, b = two(30)
    matrices = []
    for values in (a, b):
        rows = kernel_rows(values, normalise)
        if kernel in ("cosine", "linear"):
            unit = rows / np.linalg.norm(rows, axis=1, keepdims=True) if kernel == "cosine" else rows
            matrices.append(unit @ unit.T)
        else:
            matrices.append(radial(rows, 2 if kernel == "gaussian" else 1))
    found = scores.dds(a, b, kernel, normalise)  # type: ignore[arg-type]
    assert found == pytest.approx(slow.cka(matrices[0], matrices[1], False), rel=1e-9)


def test_linear_duality_diagrams_are_plain_cka() -> None:
    a, b = two()
    assert scores.dds(a, b, "linear", "centre") == pytest.approx(scores.cka(a, b, unbiased=False), rel=1e-10)


def test_a_dimension_that_never_varies_is_no_matter() -> None:
    a, b = two()
    wider = np.hstack([a, np.full((len(a), 2), 0.1)])
    for score in (scores.dds, scores.cka, scores.svcca):
        assert score(wider, b) == pytest.approx(score(a, b), rel=1e-9)


def test_rsa_ranks_dissimilarities() -> None:
    a, b = two(25)
    pairs = np.triu_indices(25, 1)
    vectors = [(1 - np.corrcoef(values - values.mean(axis=0)))[pairs].round(12) for values in (a, b)]
    assert scores.rsa(a, b) == pytest.approx(spearmanr(*vectors).statistic, rel=1e-12)


@pytest.mark.parametrize("centre", [True, False])
def test_depara_adds_nodes_and_edges(centre: bool) -> None:
    a, b = two(20)
    maps = np.random.default_rng(1).standard_normal((2, 20, 6, 5))
    maps[0, 3] = 0
    lengths = np.linalg.norm(maps.reshape(2, 20, 30), axis=2)
    cosines = [float(np.sum(maps[0, n] * maps[1, n])) / (lengths[0, n] * lengths[1, n]) if n != 3 else 0.0 for n in range(20)]
    vectors = []
    for values in (a, b):
        rows = values - values.mean(axis=0) if centre else values
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        vectors.append((unit @ unit.T)[np.triu_indices(20, 1)].round(12))
    between = spearmanr(*vectors).statistic
    assert scores.attribution(maps[0], maps[1]) == pytest.approx(np.mean(cosines), rel=1e-12)
    assert edges(a, b, centre) == pytest.approx(between, rel=1e-12)
    assert scores.depara(*maps, a, b, 0.5, centre) == pytest.approx(np.mean(cosines) + 0.5 * between, rel=1e-12)


def test_svcca_is_the_whitened_cross_covariance() -> None:
    a, b = two(200, 7, 12)
    found = scores.svcca(a, b, directions=4)
    assert found == pytest.approx(slow.svcca(a, b, (4, 4)), rel=1e-8)
    shares = [np.cumsum(s**2) / np.sum(s**2) for s in (np.linalg.svd(v - v.mean(0), compute_uv=False) for v in (a, b))]
    kept = tuple(int(np.argmax(share >= 0.9)) + 1 for share in shares)
    assert scores.svcca(a, b, 0.9) == pytest.approx(slow.svcca(a, b, (kept[0], kept[1])), rel=1e-8)
    assert scores.svcca(a, 3 * a @ np.linalg.qr(np.random.default_rng(0).standard_normal((7, 7)))[0], 1.0) == pytest.approx(1)


def test_positions_of_convolutional_features_are_samples() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((6, 3, 4, 5)), rng.standard_normal((6, 2, 4, 5))
    flat = [np.array([v[n, :, i, j] for n in range(6) for i in range(4) for j in range(5)]) for v in (a, b)]
    assert scores.svcca(a, b) == scores.svcca(*flat)


def test_gradient_fields_are_compared_at_each_point() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 5, 3, 3))
    cosines = [
        np.sum(a[n, k] * b[n, k]) / np.linalg.norm(a[n, k]) / np.linalg.norm(b[n, k]) for n in range(4) for k in range(5)
    ]
    assert scores.field_distance(a, b) == pytest.approx(np.mean(1 - np.array(cosines)), rel=1e-12)
    assert scores.modelgif(a, 2 * a) == pytest.approx(1)
    with pytest.raises(ConfigError, match="equal shapes"):
        scores.modelgif(a, b[:, :4])


SCORES = {"cka": scores.cka, "dds": scores.dds, "rsa": scores.rsa, "svcca": scores.svcca, "edges": edges}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_order_of_images_scale_and_narrow_numbers(seed: int) -> None:
    a, b = two(seed=seed)
    order = np.random.default_rng(seed).permutation(len(a))
    for name, score in SCORES.items():
        assert score(a[order], b[order]) == pytest.approx(score(a, b), rel=1e-9, abs=1e-12), name
        assert score(a * 1e4, b * 1e-4) == pytest.approx(score(a, b), rel=1e-9, abs=1e-12), name
        assert score(b, a) == pytest.approx(score(a, b), rel=1e-9, abs=1e-12), name
        assert score(a, a) == pytest.approx(1), name
        assert score(a.astype(np.float32), b) == pytest.approx(score(a, b), abs=1e-4), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_rotation_does_not_matter_to_cka_svcca_and_edges(seed: int) -> None:
    a, b = two(seed=seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((7, 7)))[0]
    for score in (scores.cka, scores.svcca, edges):
        assert score(a @ turn, b) == pytest.approx(score(a, b), rel=1e-6, abs=1e-9)
    assert scores.cka(a @ turn, b, "rbf") == pytest.approx(scores.cka(a, b, "rbf"), rel=1e-9, abs=1e-12)


def test_memory_mapped_features(tmp_path: Path) -> None:
    a, b = two()
    np.save(tmp_path / "a.npy", a.astype(np.float16))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    for score in SCORES.values():
        assert score(mapped, b) == score(a.astype(np.float16), b)


@pytest.mark.parametrize("name", list(SCORES))
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: a[:-1], "same"),
        (lambda a: a[0], "to \\[images, dimensions\\]"),
        (lambda a: np.where(a == a[3, 2], np.nan, a), "NaN or infinity"),
        (lambda a: np.where(a == a[3, 2], np.inf, a), "NaN or infinity"),
        (lambda a: a.astype(complex), "complex"),
        (lambda a: a * 1e120, "overflow"),
        (lambda a: np.tile(a[:1], (len(a), 1)), "same|equally similar"),
        (lambda a: a[:, :0], "at least 1"),
    ],
)
def test_bad_features_get_a_sentence(name: str, spoil: object, words: str) -> None:
    a, b = two()
    with pytest.raises(ConfigError, match=words):
        SCORES[name](spoil(a), b)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a, b: scores.cka(a[:3], b[:3]), "4 images"),
        (lambda a, b: scores.cka(a, b, batch=3), "4 images"),
        (lambda a, b: scores.cka(a, b, "cubic"), "kernel"),
        (lambda a, b: scores.cka(a, b, "rbf", width=0), "width"),
        (lambda a, b: scores.dds(a, b, "cubic"), "kernel"),
        (lambda a, b: scores.dds(a, b, "cosine", "l2"), "normalisation"),
        (lambda a, b: scores.dds(a[:2], b[:2]), "3 images"),
        (lambda a, b: scores.rsa(a[:2], b[:2]), "needs 3 to"),
        (lambda a, b: scores.rsa(a[:, :1], b), "two dimensions"),
        (lambda a, b: scores.svcca(a[:6], b[:6]), "more images"),
        (lambda a, b: scores.svcca(a, b, 0), "share of variance"),
        (lambda a, b: scores.attribution(a, b), "same size"),
        (lambda a, b: scores.depara(a, a, b, b, -1), "weight"),
        (lambda a, b: scores.depara(a, a, b[:9], b[:9]), "same"),
    ],
)
def test_what_makes_no_sense_is_refused(call: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        call(*two())  # type: ignore[operator]


def test_more_pairs_than_memory_holds_are_refused_before_any_is_made() -> None:
    with pytest.raises(ConfigError, match="20,000"):
        scores.rsa(np.zeros((20_001, 2)), np.zeros((20_001, 2)))
