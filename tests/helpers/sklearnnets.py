"""Pipelines of scikit-learn that the tests convert, as a user would write them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler

SHAPE = (16, 16, 3)


def images(count: int = 40) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Random values, and one of three classes by their first."""
    x = np.random.default_rng(0).standard_normal((count, 768))
    return x, np.digitize(x[:, 0], [-0.5, 0.5])


def network() -> Pipeline:
    """Standardised values, principal components, a network of two layers."""
    x, y = images()
    steps = StandardScaler(), PCA(12, random_state=0), MLPClassifier((10,), activation="tanh", max_iter=30, random_state=0)
    return make_pipeline(*steps).fit(x, y)


def logistic() -> Pipeline:
    return make_pipeline(MinMaxScaler(), LogisticRegression()).fit(*images())


def ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge()).fit(*images())


def two_classes() -> Pipeline:
    x, y = images()
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y > 0)


def decisions() -> Pipeline:
    """No probabilities."""
    return make_pipeline(Normalizer(), RidgeClassifier()).fit(*images())


def regression() -> Pipeline:
    return make_pipeline(Normalizer("l1"), MLPRegressor(hidden_layer_sizes=(10,), max_iter=30, random_state=0)).fit(*images())


def discriminant() -> Pipeline:
    return make_pipeline(PCA(5, random_state=0), LinearDiscriminantAnalysis()).fit(*images())


def forest() -> Pipeline:
    return make_pipeline(StandardScaler(), RandomForestClassifier(3)).fit(*images())


def unfitted() -> Pipeline:
    return make_pipeline(StandardScaler(), Ridge())


def slopes(made: Pipeline, values: NDArray[np.float32]) -> NDArray[np.float64]:
    """d(sum of what is explained)/dx by central differences of the pipeline in double precision, of the images' shape.

    What is explained is the hidden layer of a network, what comes before a discriminant, else decisions or predictions.
    """
    flat, step = values.reshape(len(values), -1).astype(np.float64), 1e-4
    steps = np.eye(flat.shape[1]) * step
    found = np.stack([(_total(made, flat + each) - _total(made, flat - each)) / (2 * step) for each in steps], axis=1)
    return found.reshape(values.shape)


def _total(made: Pipeline, x: NDArray[np.float64]) -> NDArray[np.float64]:
    last, before = made[-1], made[:-1].transform(x)
    if hasattr(last, "activation"):
        bent = {"tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}[last.activation]
        found = bent(before @ last.coefs_[0] + last.intercepts_[0])
    elif isinstance(last, LinearDiscriminantAnalysis):
        found = before
    else:
        found = (last.decision_function if hasattr(last, "decision_function") else last.predict)(before)
    total: NDArray[np.float64] = found.reshape(len(x), -1).sum(1)
    return total
