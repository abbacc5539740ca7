"""Choosing the layers of a network that are compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxspace.model.encoder import Candidate, Encoder, Trunk

#: Most layers that are compared; of more, this number, evenly spaced.
MOST_LAYERS = 64


@dataclass(frozen=True)
class LayerChoice:
    """The layers to compare, from image to output, and how many were `skipped`."""

    layers: tuple[Candidate, ...]
    skipped: int


def choose_layers(trunk: Trunk, own: Encoder, most: int = MOST_LAYERS) -> LayerChoice:
    """Choose at most `most` layers of a network: the last cut point before each trained node, and the network's output.

    The model's encoder `own` is always included, and takes the place of a cut point with the same trained nodes.
    """
    names = [candidate.tensor for candidate in trunk.candidates()]
    counts = trunk.count_trained_below(names)
    ends = {name: count_trained_below(trunk, name) for name in (*_find_outputs(trunk), *own.tensors)}
    groups = {count: name for name, count in (*counts.items(), *ends.items())}  # the last of each count
    tensors = dict.fromkeys([*(groups[count] for count in sorted(groups)), *own.tensors])
    counts |= ends
    order = sorted(tensors, key=lambda name: (counts[name], trunk.graph.producer[name]))
    kept = [order[i] for i in dict.fromkeys(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int).tolist())]
    kept = [name for name in order if name in kept or name in own.tensors]
    layers = tuple(
        Candidate(name, trunk.shapes[name][0] if name in trunk.shapes else None, trunk.share_below([name])) for name in kept
    )
    return LayerChoice(layers, len(order) - len(kept))


def _find_outputs(trunk: Trunk) -> list[str]:
    """The network's output, where it has one of a floating-point type that depends on the image."""
    found = [
        name for name in trunk.graph.outputs if name in trunk.tensors and name in trunk.graph.producer and trunk.is_float(name)
    ]
    return found if len(trunk.graph.outputs) == 1 else []


def count_trained_below(trunk: Trunk, tensor: str) -> int:
    """Return the number of trained nodes that a tensor depends on."""
    return trunk.count_trained_below([tensor])[tensor]
