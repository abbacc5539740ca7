"""The graph builder: one `torch.fx` module per ONNX node, by our converters first and onnx2torch's second."""

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
from onnxspace.model.graph import domain_of, label, reads
from onnxspace.model.network import Network, light
from onnxspace.torchgraph import onnx2torch as bridge
from onnxspace.torchgraph.registry import CONVERTERS, Node, schema_version, select_inputs


def pick(made: Any, index: int) -> Any:
    """One output of a node; a module that returns a bare tensor has made the first."""
    if isinstance(made, (tuple, list)):
        return made[index]
    if index:
        raise NotImplementedError(f"output {index} is not computed")
    return made


def outer_names(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node's bodies take from outside."""
    bodies = onnx.NodeProto(attribute=node.attribute)
    return list(dict.fromkeys(reads(bodies)))


class Weights(nn.Module):
    """Holds the stored values that nodes take as inputs."""


class Builder:
    """Builds one `GraphModule` from a normalised model."""

    def __init__(self, network: Network, path: str) -> None:
        self.model, self.path = network.proto, path
        self.graph = network.graph
        self.opsets = {domain_of_entry(entry): entry.version for entry in self.model.opset_import}
        self.root = nn.Module()
        self.root.add_module("weights", Weights())
        self.fx = fx.Graph()
        self.made: dict[str, fx.Node] = {}
        self.legacy = bridge.Legacy(self.model)

    def build(self) -> fx.GraphModule:
        for index, value in enumerate(self.graph.inputs):
            self.made[value.name] = self.fx.placeholder(f"input_{index}")
        for index, node in enumerate(self.graph.nodes):
            self._add(index, node)
        outputs = [self._value(name) for name in self.graph.outputs]
        self.fx.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        self.fx.lint()
        return fx.GraphModule(self.root, self.fx).eval().requires_grad_(False)

    def _add(self, index: int, node: onnx.NodeProto) -> None:
        module, names = self._convert(node)
        name = f"{node.op_type}_{index}"
        self.root.add_module(name, module)
        args, kwargs = self._arguments(module, names)
        call = self.fx.call_module(name, args, kwargs)
        if len(node.output) == 1:
            self.made[node.output[0]] = call
            return
        for position, output in enumerate(node.output):
            if output:
                self.made[output] = self.fx.call_function(pick, (call, position))

    def _convert(self, node: onnx.NodeProto) -> tuple[nn.Module, tuple[str, ...]]:
        """The module for a node, and the names of the tensors it is called with."""
        domain = domain_of(node)
        version = schema_version(node.op_type, domain, self.opsets.get(domain, 0))
        own = CONVERTERS.get((domain, node.op_type, version))
        try:
            if own is None:
                return self.legacy.convert(node, version)
            captured = self._captured(node)
            bodies = partial(self._body, node, captured)
            given = Node(node, version, attributes(node), self.graph.constant, bodies, self._element_type)
            made = own(given)
            return made, (*select_inputs(made, node.input), *captured)
        except (NotImplementedError, KeyError) as error:
            raise UnsupportedOperatorError(self._refusal(node, version, error)) from error
        except Exception as error:  # a converter stumbles over something it did not expect
            raise ConversionError(self._refusal(node, version, error)) from error

    def _captured(self, node: onnx.NodeProto) -> list[str]:
        """Computed tensors that the node's bodies take from outside: further inputs of the module."""
        return [name for name in outer_names(node) if self.graph.constant(name) is None]

    def _body(self, node: onnx.NodeProto, captured: list[str], attribute: str) -> fx.GraphModule:
        """A body as a module of its own; what it takes from outside becomes an input, or a stored value where it is one."""
        model = onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import)
        model.graph.CopyFrom(next(a.g for a in node.attribute if a.name == attribute))
        for name in outer_names(node):
            value = self.graph.constant(name)
            if value is not None:
                model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        self._declare(node, model.graph)
        model.graph.input.extend(self._types.get(name) or onnx.ValueInfoProto(name=name) for name in captured)
        return Builder(light(model), self.path).build()

    def _declare(self, node: onnx.NodeProto, body: onnx.GraphProto) -> None:
        """Give a body's inputs the element types of what they are called with, where the body itself is silent."""
        given = ["", "", *node.input[2:]] if node.op_type == "Loop" else list(node.input)[-len(body.input) or None :]
        for value, name in zip(body.input, given if node.op_type in ("Loop", "Scan") else [], strict=False):
            known = self._element_type(name)
            if known and not value.type.WhichOneof("value"):
                value.type.tensor_type.elem_type = known

    @cached_property
    def _types(self) -> dict[str, onnx.ValueInfoProto]:
        try:
            graph = onnx.shape_inference.infer_shapes(self.model).graph
        except Exception:  # bare RuntimeErrors on odd graphs: then only what the file itself says is known
            graph = self.model.graph
        return {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}

    def _element_type(self, name: str) -> int:
        """The declared element type of a tensor, 0 where it can't be told."""
        if name in self.graph.initializers:
            return int(self.graph.initializers[name].data_type)
        return int(self._types[name].type.tensor_type.elem_type) if name in self._types else 0

    def _refusal(self, node: onnx.NodeProto, version: int, error: Exception) -> str:
        reason = str(error).strip("'\"") if isinstance(error, NotImplementedError) else f"{type(error).__name__}: {error}"
        return (
            f"{self.path}: operator {label(node)} of version {version} has no differentiable counterpart "
            f"({reason.splitlines()[0] if reason else 'no converter'}). Name an --encoder below it."
        )

    def _arguments(self, module: nn.Module, names: tuple[str, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Inputs by position; behind one that is left out, by name, so that the module's own default holds."""
        kept = list(names)
        while kept and not kept[-1]:
            kept.pop()
        values = [self._value(name) if name else None for name in kept]
        if None not in values:
            return tuple(values), {}
        parameters = list(inspect.signature(module.forward).parameters.values())
        if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
            return tuple(values), {}
        first = values.index(None)
        named = zip(parameters[first:], values[first:], strict=False)
        return tuple(values[:first]), {p.name: v for p, v in named if v is not None}

    def _value(self, name: str) -> fx.Node:
        """The graph's node for a tensor; a stored value becomes an attribute when it is first used."""
        if name not in self.made:
            value = self.graph.constant(name)
            if value is None:
                raise ConversionError(f"{self.path}: tensor {name!r} is used before it is made. Export the model again.")
            target = f"w{len(self.made)}"
            weights = self.root.get_submodule("weights")
            weights.register_buffer(target, to_tensor(value))
            self.made[name] = self.fx.get_attr(f"weights.{target}")
        return self.made[name]


def domain_of_entry(entry: onnx.OperatorSetIdProto) -> str:
    """The domain of an opset import, with both spellings of the standard one made equal."""
    return "" if entry.domain == "ai.onnx" else entry.domain


def to_tensor(value: NDArray[Any]) -> torch.Tensor:
    """A stored value as a tensor; floating point, and what Torch has no type for, in single precision.

    The tensor shares the array's memory where it can.
    """
    if value.dtype.kind in "OUS":
        raise NotImplementedError("strings")
    if value.dtype.kind == "f":
        return torch.from_numpy(_writable(np.asarray(value, dtype=np.float32)))
    try:
        return torch.from_numpy(_writable(np.asarray(value)))
    except TypeError:
        return torch.from_numpy(np.asarray(value, dtype=np.float32))


def _writable(value: NDArray[Any]) -> NDArray[Any]:
    """The array itself, or a copy where Torch would warn that it is read-only or can't describe it."""
    return value if value.flags.writeable and value.flags.c_contiguous and value.dtype.isnative else np.array(value, order="C")


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes as Python values: tensors as NumPy arrays, strings decoded, graphs as they are."""
    found = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, (list, tuple)) or type(value).__name__.startswith("Repeated"):
        return [_plain(item) for item in value]
    return value


def build(model: Network | onnx.ModelProto, path: str) -> fx.GraphModule:
    """A normalised model as Torch modules in evaluation mode with frozen parameters.

    Called with the graph's inputs in order; returns a tensor, or a tuple in output order. Raises UnsupportedOperatorError
    naming the first node that has no converter, and ConversionError.
    """
    return Builder(light(model), path).build()
