"""Transferability scores as slow float64 twins, each written from its formula with explicit matrices and loops."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.stats import spearmanr

Array = NDArray[np.float64]


def sfda(features: Array, labels: NDArray[Any]) -> float:
    """By the generalised eigenproblem S_B u = ρ S̃_W u, all directions kept, as in the paper."""
    within = _within(features, labels)
    shrinkage = sfda_shrinkage(features, labels)
    chances = _softmax(_fisher(features, labels, within, shrinkage))
    soft = _softmax(chances)
    classes = np.unique(labels)
    means = {c: features[labels == c].mean(axis=0) for c in classes}
    mixed = []
    for row, label, q in zip(features, labels, soft, strict=True):
        sure = q[np.searchsorted(classes, label)]
        mixed.append(sure * row + (1 - sure) * np.mean([means[c] for c in classes if c != label], axis=0))
    hard = np.array(mixed)
    chances = _softmax(_fisher(hard, labels, _within(hard, labels), shrinkage))
    return float(np.mean([chances[n, np.searchsorted(classes, label)] for n, label in enumerate(labels)]))


def sfda_shrinkage(features: Array, labels: NDArray[Any]) -> float:
    within = _within(features, labels)
    after = within.sum(axis=1)
    for _ in range(3):
        before = within @ after / np.linalg.norm(within @ after)
        after = within @ before / np.linalg.norm(within @ before)
    return max(float(np.exp(-5 * (after @ within @ before))), 1e-10)


def _within(features: Array, labels: NDArray[Any]) -> Array:
    classes = np.unique(labels)
    return sum(
        np.cov(features[labels == c].T, bias=True).reshape(2 * [features.shape[1]]) * np.mean(labels == c) for c in classes
    )


def _fisher(features: Array, labels: NDArray[Any], within: Array, shrinkage: float) -> Array:
    width, classes = features.shape[1], np.unique(labels)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / width * np.eye(width)
    means = np.array([features[labels == c].mean(axis=0) for c in classes])
    shares = np.array([np.mean(labels == c) for c in classes])
    between = (shares[:, None] * (means - features.mean(axis=0))).T @ (means - features.mean(axis=0))
    _, directions = eigh(between, shrunk)
    rows, centres = features @ directions, means @ directions
    return rows @ centres.T - 0.5 * np.square(centres).sum(axis=1) + np.log(shares)


def _softmax(values: Array) -> Array:
    found = np.exp(values - values.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def logme_column(features: Array, column: Array) -> tuple[float, float, float]:
    """Evidence per image, α and β: the fixed point by an SVD, the evidence as the density of y ~ N(0, I/β + FFᵀ/α).

    The published iteration in the features' own unit, but without its small constants, until nothing moves any more, and from
    several starts, of which the one with the largest evidence counts.
    """
    return max(_logme_from(features, column, 10.0**power) for power in (-4, 0, 4))


def _logme_from(features: Array, column: Array, alpha: float) -> tuple[float, float, float]:
    left, sizes, _ = np.linalg.svd(features, full_matrices=False)
    kept = sizes > 1e-10 * sizes[0]
    count, sigma, along = len(features), sizes[kept] ** 2, np.square(left.T @ column)[kept]
    rest, beta = (column @ column - along.sum() if kept.sum() < count else 0.0), 1.0
    for _ in range(20_000):
        ratio = alpha / beta
        gamma = np.sum(sigma / (sigma + ratio))
        weights = np.sum(sigma * along / (sigma + ratio) ** 2)
        misfit = np.sum(along * (ratio / (sigma + ratio)) ** 2) + rest
        alpha, beta = gamma / weights, (count - gamma) / misfit
        if abs(alpha / beta - ratio) <= 1e-13 * ratio or alpha > 1e30 or beta > 1e9:
            break
    spread = np.eye(count) / beta + features @ features.T / alpha
    evidence = -(np.linalg.slogdet(spread)[1] + column @ np.linalg.solve(spread, column) + count * np.log(2 * np.pi)) / 2
    return float(evidence / count), float(alpha), float(beta)


def h_score(features: Array, labels: NDArray[Any], shrinkage: float | None = None) -> float:
    between = np.cov(_means_of_each(features, labels).T).reshape(2 * [features.shape[1]])
    if shrinkage is None:
        return float(np.trace(np.linalg.pinv(np.atleast_2d(np.cov(features.T))) @ between))
    scatter = np.cov(features.T, bias=True).reshape(2 * [features.shape[1]])
    width = features.shape[1]
    shrunk = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / width * np.eye(width)
    return float((1 - shrinkage) * np.trace(np.linalg.solve(shrunk, between)))


def _means_of_each(features: Array, labels: NDArray[Any]) -> Array:
    return np.array([features[labels == label].mean(axis=0) for label in labels])


def transrate(features: Array, labels: NDArray[Any], epsilon: float = 1e-4) -> float:
    rows = features - features.mean(axis=0)

    def rate(part: Array) -> float:
        return float(np.linalg.slogdet(np.eye(part.shape[1]) + part.T @ part / (len(part) * epsilon))[1]) / 2

    return rate(rows) - float(np.mean([rate(rows[labels == c]) for c in np.unique(labels)]))


def gbc(features: Array, labels: NDArray[Any]) -> float:
    """Spherical, by the densities' own formula on full matrices, without a cut to principal components."""
    width, total = features.shape[1], 0.0
    for a, b in itertools.permutations(np.unique(labels), 2):
        first, second = features[labels == a], features[labels == b]
        one, two = (np.eye(width) * part.var(axis=0, ddof=1).mean() for part in (first, second))
        both, apart = (one + two) / 2, first.mean(axis=0) - second.mean(axis=0)
        logs = [np.linalg.slogdet(matrix)[1] for matrix in (both, one, two)]
        total += np.exp(-(apart @ np.linalg.inv(both) @ apart) / 8 - (logs[0] - (logs[1] + logs[2]) / 2) / 2)
    return -float(total)


def parc(features: Array, labels: NDArray[Any]) -> float:
    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    pairs = np.triu_indices(len(rows), 1)
    different = (labels[:, None] != labels[None, :]).astype(float)
    return 100 * float(spearmanr((1 - np.corrcoef(rows))[pairs].round(12), different[pairs]).statistic)


def knn(features: Array, labels: NDArray[Any], neighbours: int, cosine: bool = False) -> float:
    rows = features / np.linalg.norm(features, axis=1, keepdims=True) if cosine else features
    right = 0
    for n, row in enumerate(rows):
        near = np.argsort(np.where(np.arange(len(rows)) == n, np.inf, np.linalg.norm(rows - row, axis=1)), kind="stable")
        votes = labels[near[:neighbours]].tolist()
        right += max(votes, key=lambda label: (votes.count(label), -votes.index(label))) == labels[n]
    return right / len(rows)


def linear_probe(features: Array, columns: Array, folds: NDArray[np.intp], ridges: Sequence[float]) -> Array:
    """Predictions of each fold by a ridge regression with intercept that was fitted to the others, and of their mean alone.

    Of the ridges, in units of the mean positive eigenvalue of all images' scatter, each fit takes that with the least
    generalised cross-validation error on the images that it is fitted to. Returns [2, images, columns].
    """
    centred = features - features.mean(axis=0)
    sizes = np.linalg.svd(centred, compute_uv=False)
    scale = np.square(sizes[sizes > 1e-7 * sizes[0]]).mean()
    predicted = np.empty((2, *columns.shape))
    for fold in np.unique(folds):
        rest, tried = folds != fold, []
        mean, target = features[rest].mean(axis=0), columns[rest].mean(axis=0)
        # The intercept is not penalised; ridge regression with an intercept is that of the centred problem.
        rows = features[rest] - mean
        for ridge in ridges:
            scatter = rows.T @ rows + ridge * scale * np.eye(rows.shape[1])
            weights = np.linalg.solve(scatter, rows.T @ (columns[rest] - target))
            freedom = rest.sum() - 1 - np.trace(np.linalg.solve(scatter, rows.T @ rows))
            error = np.square(columns[rest] - target - rows @ weights).sum() / freedom**2
            tried.append((error, (features[~rest] - mean) @ weights + target))
        predicted[0, ~rest], predicted[1, ~rest] = min(tried, key=lambda one: float(one[0]))[1], target
    return predicted


def leep(chances: Array, labels: NDArray[Any]) -> float:
    total = 0.0
    for n, label in enumerate(labels):
        inner = 0.0
        for z in np.flatnonzero(chances.sum(axis=0)):
            given = chances[labels == label, z].sum() / chances[:, z].sum()
            inner += given * chances[n, z]
        total += np.log(inner)
    return float(total / len(labels))


def nce(source: NDArray[Any], labels: NDArray[Any]) -> float:
    total = 0.0
    for z in np.unique(source):
        for y in np.unique(labels):
            joint, own = np.mean((source == z) & (labels == y)), np.mean(source == z)
            total += joint * np.log(joint / own) if joint else 0.0
    return float(total)


def lfc(features: Array, labels: NDArray[Any]) -> float:
    first, second = features @ features.T, np.where(labels[:, None] == labels[None, :], 1.0, -1.0)
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def cka(first: Array, second: Array, unbiased: bool) -> float:
    """From two kernels [n, n], term by term as printed."""
    return _hsic(first, second, unbiased) / float(np.sqrt(_hsic(first, first, unbiased) * _hsic(second, second, unbiased)))


def _hsic(first: Array, second: Array, unbiased: bool) -> float:
    n, ones = len(first), np.ones(len(first))
    if not unbiased:
        centring = np.eye(n) - np.ones((n, n)) / n
        return float(np.trace(first @ centring @ second @ centring))
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(k @ m) + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))


def distances(rows: Array) -> Array:
    return np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])


def svcca(first: Array, second: Array, kept: tuple[int, int], ridge: float = 1e-10) -> float:
    """Singular values of Σxx^-1/2 Σxy Σyy^-1/2 of the features along their first singular directions."""
    parts = []
    for values, count in zip((first, second), kept, strict=True):
        rows = values - values.mean(axis=0)
        parts.append(rows @ np.linalg.svd(rows, full_matrices=False)[2][:count].T)
    x, y = parts
    roots = [_inverse_root(part.T @ part / len(part) + ridge * np.eye(part.shape[1])) for part in parts]
    return float(np.linalg.svd(roots[0] @ (x.T @ y / len(x)) @ roots[1], compute_uv=False).mean())


def _inverse_root(matrix: Array) -> Array:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors / np.sqrt(values)) @ vectors.T
