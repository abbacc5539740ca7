"""Putting batch normalisation back behind convolutions into which an exporter merged it.

An exporter merges y = γ (W x − m) / s + β into a convolution with weights γ W / s. As a function the two are equal, but they
train differently: a merged network learns more slowly, and its transfer says little about that of the original. Behind a
convolution whose output has mean μ and variance σ² on some pictures, a normalisation with γ = √(σ² + ε), β = μ and running
statistics μ, σ² leaves the function as it is, and normalises each batch in training as the original did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from onnxspace.model.network import Network

EPSILON = 1e-5
#: `centring` below which normalisation was merged. Measured: 31 merged networks −.98 to −.32; 5 that never had any −.07 to +.40.
MERGED = -0.25
_NORMS = frozenset({
    "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization",
    "SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "GroupNorm", "SkipGroupNorm",
    "MeanVarianceNormalization",
})  # fmt: skip
_OLDEST = 7  # the first opset whose BatchNormalization has no training attribute


def has_norms(network: Network) -> bool:
    """Whether a graph normalises its activations anywhere, as an operator of its own or in parts.

    In parts, a normalisation takes a mean over an axis, centres, squares or multiplies, and takes a root.
    """
    kinds = {node.op_type for node in network.graph.nodes}
    return bool(kinds & _NORMS) or {"ReduceMean", "Sub", "Sqrt"} <= kinds


def centring(network: Network, means: Mapping[str, NDArray[np.float32]]) -> float:
    """How far the biases of convolutions undo the means of their products: a correlation, −1 for all of it, 0 for none.

    Merging leaves a convolution with the bias β − γ m / s, which takes the mean of the product back out. So over the channels, each
    layer standardised, the biases and the means of the products are opposite. In networks that never had a normalisation they
    are not related. `means` holds the mean of each convolution's output per channel, bias included, by the output's name. 0 where
    no convolution has biases that differ.
    """
    biases: list[NDArray[np.float64]] = [np.zeros(0)]
    products: list[NDArray[np.float64]] = [np.zeros(0)]
    for node in list_convolutions(network):
        bias = _read_bias(network, node)
        if bias is not None and node.output[0] in means and np.std(bias) > 0:
            product = means[node.output[0]].astype(np.float64) - bias
            biases.append((bias - np.mean(bias)) / np.std(bias))
            products.append((product - product.mean()) / max(product.std(), 1e-12))
    every, other = np.concatenate(biases), np.concatenate(products)
    return float(np.mean(every * other)) if every.size else 0.0


def has_untrained_norms(network: Network) -> bool:
    """Whether every convolution has biases and all of them are 0, as merging a normalisation that was never trained leaves them."""
    found = [_read_bias(network, node) for node in list_convolutions(network)]
    return bool(found) and all(bias is not None and not bias.any() for bias in found)


def _read_bias(network: Network, convolution: onnx.NodeProto) -> NDArray[np.float64] | None:
    stored = network.graph.constant(convolution.input[2]) if len(convolution.input) > 2 and convolution.input[2] else None
    return None if stored is None else np.asarray(stored, np.float64)


def list_convolutions(network: Network) -> list[onnx.NodeProto]:
    """List the convolutions with stored weights, in the order of the graph."""
    return [
        node for node in network.graph.nodes if node.op_type == "Conv" and network.graph.constant(node.input[1]) is not None
    ]


def insert_batch_norms(network: Network, behind: Sequence[str] | None = None) -> Network:
    """Insert a batch normalisation behind convolutions, as yet the identity: γ = √(1 + ε), β = 0, running mean 0 and variance 1.

    `behind` names the outputs of the convolutions (None: all with stored weights). Their tensors keep their names, so that what
    read a convolution now reads its normalisation. A graph of an opset below 7 is returned unchanged.
    """
    if _opset(network) < _OLDEST:
        return network
    chosen = {node.output[0] for node in list_convolutions(network)}
    chosen &= chosen if behind is None else set(behind)
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    for node in nodes:
        proto.graph.node.append(node)
        if node.op_type == "Conv" and node.output[0] in chosen:
            filters = network.graph.constant(node.input[1])
            proto.graph.node.append(_norm_behind(proto.graph, len(filters) if filters is not None else 0))
    return Network(proto, network.weights)


def _norm_behind(graph: onnx.GraphProto, channels: int) -> onnx.NodeProto:
    """Rename the output of the last node, and return the normalisation that computes the tensor of the old name."""
    convolution = graph.node[-1]
    name = convolution.output[0]
    convolution.output[0] = f"{name}__merged"
    values = {"scale": np.sqrt(1 + EPSILON), "shift": 0.0, "mean": 0.0, "variance": 1.0}
    inputs = [f"{name}__{part}" for part in values]
    for given, value in zip(inputs, values.values(), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.full(channels, value, np.float32), given))
    return helper.make_node("BatchNormalization", [convolution.output[0], *inputs], [name], f"{name}__norm", epsilon=EPSILON)


def _opset(network: Network) -> int:
    return max((entry.version for entry in network.proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
