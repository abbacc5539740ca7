"""From a model to a graph that trains as the original did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from onnxspace.finetuning.batch_norms import has_norms, insert_batch_norms, list_convolutions
from onnxspace.finetuning.dropouts import mark_dropouts
from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.training_graph import TrainingGraph
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.model import Model
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.normalise import normalise

#: Whether batch normalisation is put back behind convolutions: where the graph seems to have lost it, always, or never.
Norms = Literal["auto", "back", "none"]
#: Images on which statistics of activations are measured.
MEASURED = 256
_BATCH = 32


def build_training_graph(model: Model, encoder: Encoder, pictures: Pictures, norms: Norms = "auto") -> TrainingGraph:
    """Build the graph of `model` up to its `encoder`, with trainable weights and live normalisation.

    `pictures` are images of the task, on which the normalisation that is put back is calibrated: the function stays the same.
    Raises UnsupportedOperatorError, ConversionError, and ModelError for a network without weights to train.
    """
    part = mark_dropouts(cut(model, encoder))
    bridge.refuse_unknown(part.proto, model.path)
    name = part.proto.graph.input[0].name
    network = normalise(part, {name: model.input_shape}, batched=name)
    if norms == "none" or has_norms(network) or not list_convolutions(network):
        return TrainingGraph(network, model.path)
    restored = TrainingGraph(insert_batch_norms(network), model.path)
    restored.restore_statistics(_sample_batches(pictures), frozenset(restored.norms))
    if norms == "auto" and not seems_merged(restored):
        return TrainingGraph(network, model.path)
    return restored


def _sample_batches(pictures: Pictures) -> Iterator[torch.Tensor]:
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), MEASURED)).round().astype(np.intp))
    for first in range(0, len(rows), _BATCH):
        yield pictures.batch(rows[first : first + _BATCH])


def seems_merged(graph: TrainingGraph) -> bool:
    """Whether batch normalisation seems to have been merged into a graph's convolutions."""
    return True
