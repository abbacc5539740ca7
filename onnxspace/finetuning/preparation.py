"""From a model to a graph that trains as the original did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from onnxspace.errors import ConversionError, ModelError
from onnxspace.finetuning.batch_norms import (
    MERGED,
    centring,
    has_norms,
    has_untrained_norms,
    insert_batch_norms,
    list_convolutions,
)
from onnxspace.finetuning.dropouts import mark_dropouts
from onnxspace.finetuning.pictures import Pictures
from onnxspace.finetuning.training_graph import TrainingGraph
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.model import Model
from onnxspace.model.network import Network
from onnxspace.model.shapes import refuse_large_tensors
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.normalise import normalise
from onnxspace.torchgraph.verify import compute_reference, difference, tolerance

#: Whether batch normalisation is put back behind convolutions: where the graph seems to have lost it, always, or never.
Norms = Literal["auto", "back", "none"]
#: Images on which statistics of activations are measured.
MEASURED = 256
_BATCH = 32


def build_training_graph(model: Model, encoder: Encoder, pictures: Pictures, norms: Norms = "auto") -> TrainingGraph:
    """Build the graph of `model` up to its `encoder`, with trainable weights and live normalisation.

    `pictures` are images of the task, on which the normalisation that is put back is calibrated: the function stays the same
    (except where it was never trained), and is compared with ONNX Runtime on some of them. Raises UnsupportedOperatorError, ConversionError, and ModelError for a network
    without weights to train, or one that takes a single image at a time.
    """
    if model.group is not None:
        raise ModelError(
            f"{model.path} takes {model.images_at_once} images at a time, so it can't be trained. Export it with an open batch size."
        )
    part = cut(model, encoder)
    bridge.refuse_unknown(part.proto, model.path)
    name = part.proto.graph.input[0].name
    refuse_large_tensors(part.proto, {name: model.input_shape}, model.path)
    network = normalise(mark_dropouts(part), {name: model.input_shape}, batched=name)
    try:
        graph = _restore_norms(network, model.path, pictures, norms) or TrainingGraph(network, model.path)
        _verify(graph, part, pictures)
        if graph.norms and not has_norms(network) and has_untrained_norms(network):
            graph.reset_norms(_sample_batches(pictures))
    except RuntimeError as error:  # of Torch: the shapes of a batch don't fit
        raise ModelError(
            f"{model.path} takes one image at a time, so it can't be trained. Export it with an open batch size."
        ) from error
    return graph


def _restore_norms(network: Network, path: str, pictures: Pictures, norms: Norms) -> TrainingGraph | None:
    """The graph with batch normalisation put back behind its convolutions; None where it should have none."""
    if norms == "none" or has_norms(network) or not list_convolutions(network):
        return None
    graph = TrainingGraph(insert_batch_norms(network), path)
    graph.restore_statistics(_sample_batches(pictures), frozenset(graph.norms))
    means = {name: graph.weights[inputs[1]].detach().numpy() for name, (_, inputs) in graph.norms.items()}
    merged = norms == "back" or has_untrained_norms(network) or centring(network, means) < MERGED
    return graph if merged else None


def _sample_batches(pictures: Pictures) -> Iterator[torch.Tensor]:
    rows = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), MEASURED)).round().astype(np.intp))
    for first in range(0, len(rows), _BATCH):
        yield pictures.batch(rows[first : first + _BATCH])


def _verify(graph: TrainingGraph, part: Network, pictures: Pictures) -> None:
    """Compare the graph with ONNX Runtime on two images."""
    batch = pictures.batch(np.arange(min(2, len(pictures))))
    expected = compute_reference(part, batch.numpy(), graph.path)
    with torch.no_grad():
        found = graph.eval().graph(batch)
    outputs = [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]
    gap = difference(outputs, expected)
    if not gap <= tolerance(part.proto):
        raise ConversionError(f"{graph.path}: the training graph differs from ONNX Runtime (relative difference {gap:.2g}).")
