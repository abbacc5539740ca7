"""The training graph: a converted network whose weights are parameters, and whose normalisation and dropout are live."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, fx, nn

from onnxspace.errors import ModelError
from onnxspace.finetuning.dropouts import marked_ratio
from onnxspace.finetuning.live_layers import MOMENTUM, LiveBatchNorm, LiveDropout
from onnxspace.model.graph import Graph
from onnxspace.model.network import Network
from onnxspace.torchgraph import operators
from onnxspace.torchgraph.build import Builder

__all__ = ["TrainingGraph", "list_weights", "operators", "pool_features", "write_weights"]

#: Inputs that hold trained weights, by operator; for those listed with None every stored input does.
_WEIGHTS: Mapping[str, tuple[int, ...] | None] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "FusedConv": (1, 2), "Gemm": None, "FusedGemm": None, "MatMul": None,
    "FusedMatMul": None, "Einsum": None, "BatchNormalization": (1, 2), "InstanceNormalization": (1, 2),
    "LayerNormalization": (1, 2), "GroupNormalization": (1, 2), "RMSNormalization": (1,), "SimplifiedLayerNormalization": (1,),
    "SkipLayerNormalization": (2, 3, 4), "PRelu": (1,), "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
    "Attention": None, "Gather": (0,), "Concat": None, "Add": None, "Sub": None, "Mul": None, "Div": None, "Sum": None,
}  # fmt: skip
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Sum", "Concat", "Gather"})
_LARGEST = 1e4  # a larger constant is a mask, not a weight


class TrainingGraph(nn.Module):
    """A network from its image to its encoder that can be trained, and written back as ONNX.

    `network` is the normalised ONNX graph. `weights` maps the names of its initialisers to the module's tensors: parameters,
    and the running statistics of batch normalisation.
    """

    def __init__(self, network: Network, path: str) -> None:
        super().__init__()
        self.network, self.path = network, path
        builder = Builder(network, path)
        self.graph = builder.build()
        self.held = {name: str(node.target) for name, node in builder.fx_nodes.items() if node.op == "get_attr"}
        self.norms = dict(_revive_layers(self.graph, network.graph))
        self.ranks: tuple[int, ...] = ()
        self._free_weights()

    def __deepcopy__(self, memo: dict[int, Any]) -> TrainingGraph:
        """Copy the tensors, but not the ONNX graph."""
        memo[id(self.network)] = self.network
        twin = TrainingGraph.__new__(TrainingGraph)
        memo[id(self)] = twin
        twin.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return twin

    @property
    def trained(self) -> list[str]:
        """Names of the initialisers that training changes: weights and running statistics."""
        statistics = {name for _, inputs in self.norms.values() for name in inputs[2:]}
        return [name for name in self.held if isinstance(self._get(self.held[name]), nn.Parameter) or name in statistics]

    def _free_weights(self) -> None:
        holder = dict(self.graph.named_modules()).get("weights", nn.Module())
        for name in list_weights(self.network):
            if name in self.held:
                place = self.held[name].rpartition(".")[2]
                value = self._get(self.held[name]).clone()
                delattr(holder, place)
                holder.register_parameter(place, nn.Parameter(value))
        for name, buffer in list(holder.named_buffers()):
            setattr(holder, name, buffer.clone())  # running statistics must not be written to the model's own memory
        if not any(p.requires_grad for p in self.parameters()):
            raise ModelError(f"{self.path} has no weights that can be trained below its encoder. Leave it out.")

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors by the names of their initialisers: parameters and running statistics."""
        return {name: self._get(target) for name, target in self.held.items()}

    def _get(self, target: str) -> Tensor:
        holder, _, name = target.rpartition(".")
        found: Tensor = getattr(self.graph.get_submodule(holder), name)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """The features at the encoder, [images, features], means over positions: [images, channels]."""
        found = self.graph(x)
        tensors = found if isinstance(found, tuple) else (found,)
        self.ranks = tuple(one.dim() for one in tensors)
        parts = [pool_features(one) for one in tensors]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    @torch.no_grad()
    def restore_statistics(self, batches: Iterator[Tensor], inserted: frozenset[str]) -> None:
        """Set the normalisations that compute the tensors `inserted` so that they leave the function on `batches` as it is."""
        layers = {name: layer for name, layer in self.norms.items() if name in inserted}
        self.eval()
        for layer, _ in layers.values():
            layer.sums = []
        for batch in batches:
            self.graph(batch)
        for layer, inputs in layers.values():
            mean, variance = layer.collect()
            values = ((variance + layer.epsilon).sqrt(), mean, mean, variance)
            for name, value in zip(inputs, values, strict=True):
                self._get(self.held[name]).copy_(value)

    @torch.no_grad()
    def reset_norms(self, batches: Iterator[Tensor]) -> None:
        """Set γ of every normalisation to 1 and β to 0, as they are before training, with statistics of `batches`."""
        for _, inputs in self.norms.values():
            self._get(self.held[inputs[0]]).fill_(1.0)
            self._get(self.held[inputs[1]]).fill_(0.0)
        self.update_statistics(batches)

    @torch.no_grad()
    def update_statistics(self, batches: Iterator[Tensor]) -> None:
        """Replace the running statistics by means over `batches`, each normalised by its own statistics as in training."""
        layers = [layer for layer, _ in self.norms.values()]
        self.eval()
        for count, batch in enumerate(batches, 1):
            for layer in layers:
                layer.train()
                layer.momentum = 1 / count
            self.graph(batch)
        for layer in layers:
            layer.eval()
            layer.momentum = MOMENTUM


def _revive_layers(graph: fx.GraphModule, source: Graph) -> Iterator[tuple[str, tuple[LiveBatchNorm, tuple[str, ...]]]]:
    """Replace batch normalisation and dropout by live layers; yields each normalisation by its output, with its inputs' names."""
    for index, node in enumerate(source.nodes):
        place = f"{node.op_type}_{index}"
        if node.op_type == "BatchNormalization" and _is_live(node, source):
            layer = LiveBatchNorm(_attribute(node, "epsilon", 1e-5))
            setattr(graph, place, layer)
            yield node.output[0], (layer, tuple(node.input[1:]))
        elif (ratio := marked_ratio(node)) is not None:
            setattr(graph, place, LiveDropout(ratio))


def _is_live(node: onnx.NodeProto, source: Graph) -> bool:
    stored = all(source.constant(name) is not None for name in node.input[1:5])
    return stored and bool(_attribute(node, "spatial", 1)) and len(set(node.input[1:5])) == 4


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    return next((float(onnx.helper.get_attribute_value(a)) for a in node.attribute if a.name == name), default)


def list_weights(network: Network) -> list[str]:
    """List the initialisers that are trained weights, in the order of their use.

    These are floating-point inputs of layers with weights. Of elementwise operators only those above the first layer count
    (below it they are preprocessing), and only tensors of more than one finite value (others are constants of a formula).
    """
    source = network.graph
    parametric = {i for i in range(len(source.nodes)) if source.is_parametric(i)}
    found: dict[str, None] = {}
    for node in source.nodes:
        for position, name in enumerate(node.input):
            takes = _WEIGHTS.get(node.op_type, ())
            fits = (takes is None or position in takes) and _is_weight(source.constant(name), node.op_type)
            if fits and (node.op_type not in _ELEMENTWISE or not parametric.isdisjoint(source.ancestors_of([node.output[0]]))):
                found.setdefault(name)
    return list(found)


def _is_weight(value: NDArray[Any] | None, operator: str) -> bool:
    if value is None or value.dtype.kind != "f" or value.size == 0:
        return False
    if operator in _ELEMENTWISE and value.size == 1:
        return False
    return bool(np.isfinite(value).all() and np.abs(value).max() < _LARGEST)


def pool_features(values: Tensor) -> Tensor:
    """Average features over positions: [images, channels, height, width] or [images, tokens, channels] → [images, channels]."""
    if values.dim() >= 4:
        return values.flatten(2).mean(2)
    return values.mean(1) if values.dim() == 3 else values.reshape(len(values), -1)


def write_weights(network: Network, weights: Mapping[str, NDArray[Any]]) -> Network:
    """Return the graph with the values of some initialisers replaced."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    for tensor in proto.graph.initializer:
        if tensor.name in weights and tensor.name not in network.weights:
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(weights[tensor.name]), tensor.name))
    large = {name: np.asarray(weights.get(name, value)) for name, value in network.weights.items()}
    return Network(proto, large)
