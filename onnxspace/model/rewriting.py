"""From the graph of a file to one that all other code reads.

Its nodes are sorted; it has neither model-local functions nor sparse initialisers, and no tensors whose channels lie in blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from onnxspace.model.blocked import unblock
from onnxspace.model.functions import inline_functions
from onnxspace.model.network import Network, separate_weights
from onnxspace.model.node_order import sort_nodes
from onnxspace.model.sparse import write_out_sparse


def rewrite(path: str | Path, model: onnx.ModelProto, weights: Mapping[str, NDArray[Any]] | None = None) -> Network:
    """Return the network of `model`, which is not changed; `source` of the network is the file's graph where they differ.

    `weights` holds the initialisers that `model` only declares, `path` names the model in errors. Raises ModelError.
    """
    given = separate_weights(model)
    plain = write_out_sparse(path, inline_functions(path, given.proto))
    network = separate_weights(plain)
    held = {**(weights or {}), **given.weights}
    ordered = sort_nodes(network.proto)
    whole = unblock(path, Network(ordered, {**held, **network.weights}))
    same = plain is given.proto and whole.proto is ordered
    return whole if same else replace(whole, source=Network(given.proto, held))
