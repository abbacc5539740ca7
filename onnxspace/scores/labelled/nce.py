"""NCE: how little is left to know of the labels once the source model's labels are known.

Tran et al., "Transferability and Hardness of Supervised Classification Tasks" (ICCV 2019).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from onnxspace.errors import ConfigError
from onnxspace.scores.arrays import inverse
from onnxspace.scores.labels import read_labels


def nce(source_labels: ArrayLike, labels: ArrayLike) -> float:
    """−H(Y | Z) in nats, at most 0, larger is better.

    `source_labels` [images]: the class the source model predicts, a number or a word. `labels` [images] of classes. Images
    without a label are left out; a missing source label is refused with ConfigError.
    """
    classes, source = read_labels(labels, "classes"), np.asarray(source_labels)
    if source.shape != classes.kept.shape:
        raise ConfigError(
            f"Source labels have shape {list(source.shape)}, labels {list(classes.kept.shape)}; both are [images]."
        )
    present = source[classes.kept]
    if any(value is None or value != value for value in present.tolist()):
        raise ConfigError("A source label is missing; the source model predicts one for every image.")
    try:
        names, index = np.unique(present, return_inverse=True)
    except TypeError as error:
        raise ConfigError("The source labels mix words and numbers; write the classes in one way.") from error
    joint = np.zeros((len(names), len(classes.names)))
    np.add.at(joint, (index, classes.index), 1 / len(index))
    given = joint * inverse(joint.sum(axis=1))[:, None]
    return float((joint * np.log(np.where(given > 0, given, 1.0))).sum())
