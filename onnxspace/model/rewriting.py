"""From the graph of a file to one that all other code reads: without functions of its own and sparse initialisers, and sorted."""

from __future__ import annotations

from pathlib import Path

import onnx

from onnxspace.model.functions import inline_functions
from onnxspace.model.graph import sort_nodes
from onnxspace.model.network import Network, separate_weights
from onnxspace.model.sparse import write_out_sparse


def rewrite(path: str | Path, model: onnx.ModelProto) -> Network:
    """Return the network of `model`, which is not changed; `source` of the network is the file's graph where they differ.

    `path` names the model in errors. Raises ModelError.
    """
    given = separate_weights(model)
    plain = write_out_sparse(path, inline_functions(path, given.proto))
    network = separate_weights(plain)
    return Network(
        sort_nodes(network.proto), {**given.weights, **network.weights}, None if plain is given.proto else given.proto
    )
