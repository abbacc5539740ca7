"""NCE: the negative conditional entropy of the labels given the source model's labels.

Tran et al., "Transferability and Hardness of Supervised Classification Tasks" (ICCV 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import reciprocal_or_zero
from onnxspace.scores.labels import read_labels


def nce(source_labels: ArrayLike, labels: ArrayLike) -> float:
    """Return −H(Y | Z) in nats, at most 0, larger is better.

    `source_labels` Z [images] are the classes that the source model predicts, as numbers or words; `labels` Y [images] of
    classes. Images without a label are left out. Raises ConfigError for a missing source label, for mixed words and numbers,
    and where the shapes differ.

    >>> round(nce([0, 0, 0, 1], ["cat", "cat", "dog", "dog"]), 3)
    -0.477
    """
    classes, source = read_labels(labels, "classes"), np.asarray(source_labels)
    if source.shape != classes.kept.shape:
        raise ConfigError(
            f"Source labels have shape {list(source.shape)}, labels {list(classes.kept.shape)}; both must be [images]."
        )
    present = source[classes.kept]
    if any(value is None or value != value for value in present.tolist()):
        raise ConfigError("A source label is missing; pass the source model's prediction for every image.")
    try:
        names, index = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise ConfigError("The source labels mix words and numbers; use one form for all classes.") from error
    joint = np.zeros((len(names), len(classes.names)))
    np.add.at(joint, (index, classes.index), 1 / len(index))
    given = joint * reciprocal_or_zero(joint.sum(axis=1))[:, None]
    return float((joint * np.log(np.where(given > 0, given, 1.0))).sum())
