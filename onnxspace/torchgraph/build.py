"""Building a `torch.fx` graph with one module per ONNX node, by our own converters, or else by onnx2torch's."""

from __future__ import annotations

import inspect
from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import fx, nn

from onnxspace.errors import ConversionError, UnsupportedOperatorError
from onnxspace.model.graph import describe_node, domain_of, names_read_by
from onnxspace.model.network import Network, separate_weights
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.attributes import refuse_unlisted
from onnxspace.torchgraph.host_values import store_host_values
from onnxspace.torchgraph.registry import CONVERTERS, Node, schema_version, select_inputs

#: Keys of the notes on nodes of a built graph: the ONNX tensor that one holds, and the position of the ONNX node that it is.
TENSOR, POSITION = "onnx_tensor", "onnx_position"


def pick(outputs: Any, index: int) -> Any:
    """Select one output of a node; a module that returns a bare tensor has only the first."""
    if isinstance(outputs, (tuple, list)):
        return outputs[index]
    if index:
        raise NotImplementedError(f"output {index} is not computed")
    return outputs


def captured_names(node: onnx.NodeProto) -> list[str]:
    """Names of the tensors that a node's subgraphs capture from outside."""
    bodies = onnx.NodeProto(attribute=node.attribute)
    return list(dict.fromkeys(names_read_by(bodies)))


class Weights(nn.Module):
    """Holds the constants that nodes take as inputs, as buffers."""


class Builder:
    """Builds one `GraphModule` from a normalised model; `path` names the model in messages."""

    def __init__(self, network: Network, path: str) -> None:
        self.model, self.path = network.proto, path
        self.graph = network.graph
        self.opsets = {domain_of_entry(entry): entry.version for entry in self.model.opset_import}
        self.root = nn.Module()
        self.root.add_module("weights", Weights())
        self.fx = fx.Graph()
        self.fx_nodes: dict[str, fx.Node] = {}
        self.legacy = bridge.Onnx2TorchConverter(self.model)

    def build(self) -> fx.GraphModule:
        """Convert all nodes and return the graph, in evaluation mode with frozen parameters."""
        for index, value in enumerate(self.graph.inputs):
            self.fx_nodes[value.name] = self.fx.placeholder(f"input_{index}")
            self.fx_nodes[value.name].meta[TENSOR] = value.name
        for index, node in enumerate(self.graph.nodes):
            self._add(index, node)
        outputs = [self._node_for(name) for name in self.graph.outputs]
        self.fx.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        self.fx.lint()
        return fx.GraphModule(self.root, self.fx).eval().requires_grad_(False)

    def _add(self, index: int, node: onnx.NodeProto) -> None:
        module, names = self._convert(node)
        name = f"{node.op_type}_{index}"
        self.root.add_module(name, module)
        args, kwargs = self._bind_arguments(module, names)
        call = self.fx.call_module(name, args, kwargs)
        call.meta[POSITION] = index
        if len(node.output) == 1:
            self.fx_nodes[node.output[0]] = call
            call.meta[TENSOR] = node.output[0]
            return
        for position, output in enumerate(node.output):
            if output:
                self.fx_nodes[output] = self.fx.call_function(pick, (call, position))
                self.fx_nodes[output].meta[TENSOR] = output

    def _convert(self, node: onnx.NodeProto) -> tuple[nn.Module, tuple[str, ...]]:
        """The module for a node, and the names of the tensors it is called with."""
        domain = domain_of(node)
        version = schema_version(node.op_type, domain, self.opsets.get(domain, 0))
        own = CONVERTERS.get((domain, node.op_type, version))
        try:
            attributes = read_attributes(node)
            refuse_unlisted(node.op_type, attributes)
            if own is None:
                return self.legacy.convert(node, version)
            captured = self._captured_inputs(node)
            bodies = partial(self._build_body, node, captured)
            given = Node(node, version, attributes, self.graph.constant, bodies, self._element_type)
            module = own(given)
            return module, (*select_inputs(module, node.input), *captured)
        except (NotImplementedError, KeyError) as error:
            raise UnsupportedOperatorError(self._describe_refusal(node, version, error)) from error
        except Exception as error:  # a converter met a node that it does not handle
            raise ConversionError(self._describe_refusal(node, version, error)) from error

    def _captured_inputs(self, node: onnx.NodeProto) -> list[str]:
        """Computed tensors that the node's subgraphs capture from outside: further inputs of its module."""
        return [name for name in captured_names(node) if self.graph.constant(name) is None]

    def _build_body(self, node: onnx.NodeProto, captured: list[str], attribute: str) -> fx.GraphModule:
        """Build a subgraph as a module; captured tensors become inputs, or initialisers where they are constant."""
        model = onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import)
        model.graph.CopyFrom(next(a.g for a in node.attribute if a.name == attribute))
        for name in captured_names(node):
            value = self.graph.constant(name)
            if value is not None:
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        self._declare_inputs(node, model.graph)
        model.graph.input.extend(self._types.get(name) or onnx.ValueInfoProto(name=name) for name in captured)
        body = Builder(separate_weights(model), self.path).build()
        store_host_values(body)
        body.recompile()
        return body

    def _declare_inputs(self, node: onnx.NodeProto, body: onnx.GraphProto) -> None:
        """Declare the element types of a subgraph's inputs by its arguments, where the subgraph does not declare them."""
        given = ["", "", *node.input[2:]] if node.op_type == "Loop" else list(node.input)[-len(body.input) or None :]
        for value, name in zip(body.input, given if node.op_type in ("Loop", "Scan") else [], strict=False):
            known = self._element_type(name)
            if known and not value.type.WhichOneof("value"):
                value.type.tensor_type.elem_type = known

    @cached_property
    def _types(self) -> dict[str, onnx.ValueInfoProto]:
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except Exception:  # RuntimeErrors on unusual graphs: only the types recorded in the file remain
            graph = self.model.graph
        return {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}

    def _element_type(self, name: str) -> int:
        """The declared element type of a tensor, 0 where it is unknown."""
        if name in self.graph.initializers:
            return int(self.graph.initializers[name].data_type)
        return int(self._types[name].type.tensor_type.elem_type) if name in self._types else 0

    def _describe_refusal(self, node: onnx.NodeProto, version: int, error: Exception) -> str:
        reason = str(error).strip("'\"") if isinstance(error, NotImplementedError) else f"{type(error).__name__}: {error}"
        return (
            f"{self.path}: operator {describe_node(node)} of version {version} has no differentiable counterpart "
            f"({reason.splitlines()[0] if reason else 'no converter'}). Name an --encoder below it."
        )

    def _bind_arguments(self, module: nn.Module, names: tuple[str, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs by position; those after an omitted one by name, so that the module's default applies to it."""
        kept = list(names)
        while kept and not kept[-1]:
            kept.pop()
        values = [self._node_for(name) if name else None for name in kept]
        if None not in values:
            return tuple(values), {}
        parameters = list(inspect.signature(module.forward).parameters.values())
        if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
            return tuple(values), {}
        first = values.index(None)
        named = zip(parameters[first:], values[first:], strict=False)
        return tuple(values[:first]), {p.name: v for p, v in named if v is not None}

    def _node_for(self, name: str) -> fx.Node:
        """The graph's node for a tensor; a constant becomes a buffer when it is first used."""
        if name not in self.fx_nodes:
            value = self.graph.constant(name)
            if value is None:
                raise ConversionError(f"{self.path}: tensor {name!r} is used before it is defined. Export the model again.")
            target = f"w{len(self.fx_nodes)}"
            weights = self.root.get_submodule("weights")
            weights.register_buffer(target, to_tensor(value))
            self.fx_nodes[name] = self.fx.get_attr(f"weights.{target}")
        return self.fx_nodes[name]


def domain_of_entry(entry: onnx.OperatorSetIdProto) -> str:
    """The domain of an opset import; the standard domain is "" in both of its spellings."""
    return "" if entry.domain == "ai.onnx" else entry.domain


def to_tensor(value: NDArray[Any]) -> torch.Tensor:
    """Convert a constant to a tensor: float32 for floating point and for types that Torch lacks.

    The tensor shares the array's memory where possible. Raises NotImplementedError for strings.
    """
    if value.dtype.kind in "OUS":
        raise NotImplementedError("strings")
    if value.dtype.kind == "f":
        return torch.from_numpy(_make_writable(np.asarray(value, dtype=np.float32)))
    try:
        return torch.from_numpy(_make_writable(np.asarray(value)))
    except TypeError:
        return torch.from_numpy(np.asarray(value, dtype=np.float32))


def _make_writable(value: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy where it is read-only or has a layout that Torch does not support."""
    return value if value.flags.writeable and value.flags.c_contiguous and value.dtype.isnative else np.array(value, order="C")


def read_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Read a node's attributes as Python values: tensors as NumPy arrays, strings decoded, graphs as they are."""
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: _to_python(value) for name, value in found.items()}


def _to_python(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (list, tuple)) or type(value).__name__.startswith("Repeated"):
        return [_to_python(item) for item in value]
    return value


def build(model: Network | onnx.ModelProto, path: str) -> fx.GraphModule:
    """Build a normalised model as a Torch graph in evaluation mode with frozen parameters.

    `path` names the model in messages. The graph is called with the model's inputs in order, and returns a tensor, or a tuple
    in output order. Raises UnsupportedOperatorError naming the first node that has no converter, and ConversionError where a
    converter fails.
    """
    return Builder(separate_weights(model), path).build()
