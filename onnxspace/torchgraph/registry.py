"""The registry of our own converters, and the view of an ONNX node that a converter gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.defs
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: The type a converter returns: a module called with the node's inputs in order (None for an omitted one), that returns a
#: tensor, or a tuple of tensors.
TorchOperator = nn.Module
_TAKES, _ON_HOST = "onnx_inputs_taken", "onnx_inputs_on_host"


@dataclass(frozen=True)
class Node:
    """One ONNX node with its attributes as Python values.

    `version` is the schema version of its operator. `constant_of`, `body_of` and `type_of` look up the value of a constant
    tensor, the module of a subgraph, and the declared element type of a tensor.
    """

    proto: onnx.NodeProto
    version: int
    attributes: Mapping[str, Any]
    constant_of: Callable[[str], NDArray[Any] | None]
    body_of: Callable[[str], nn.Module] | None = None
    type_of: Callable[[str], int] | None = None

    def __deepcopy__(self, _memo: dict[int, Any]) -> Node:
        """Return the node itself: the lookups lead to the whole network, and copying it exceeds the recursion limit."""
        return self

    def without_lookups(self) -> Node:
        """Return the node with its attributes alone, for a module that keeps it: the lookups hold the whole network in memory."""
        return Node(self.proto, self.version, self.attributes, _find_nothing)

    @property
    def operator(self) -> str:
        """Name of the ONNX operator."""
        return self.proto.op_type

    @property
    def outputs(self) -> int:
        """Number of outputs, including omitted ones before the last."""
        return len(self.proto.output)

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`: an int, float, str, a list of these, or a NumPy array for a tensor."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether the input at `index` is given."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def constant(self, index: int) -> NDArray[Any] | None:
        """The value of the input at `index`, None where it is omitted. Raises NotImplementedError where it is computed."""
        if not self.has(index):
            return None
        value = self.constant_of(self.proto.input[index])
        if value is None:
            raise NotImplementedError(f"input {index} is computed, not stored")
        return value

    def body(self, name: str) -> nn.Module:
        """The subgraph in attribute `name` as a module, called with the subgraph's inputs and then with captured tensors."""
        if self.body_of is None:
            raise NotImplementedError("a subgraph")
        return self.body_of(name)

    def element_type(self, index: int) -> int:
        """The declared `onnx.TensorProto` type of the input at `index`, 0 where it is unknown."""
        return self.type_of(self.proto.input[index]) if self.type_of is not None and self.has(index) else 0

    def ints(self, index: int, attribute: str | None = None) -> list[int] | None:
        """A list of integers from a constant input or, in older schema versions, from an attribute."""
        if attribute is not None and attribute in self.attributes:
            return [int(n) for n in self.attributes[attribute]]
        value = self.constant(index)
        return None if value is None else [int(n) for n in np.asarray(value).reshape(-1)]


def _find_nothing(_name: str) -> None:
    """The value of a constant, of which a node without lookups knows none."""


Converter = Callable[[Node], TorchOperator]
#: (domain, operator, schema version) → converter.
CONVERTERS: dict[tuple[str, str, int], Converter] = {}


def converter(operator: str, *versions: int, domain: str = "") -> Callable[[Converter], Converter]:
    """Register a converter for the schema `versions` of `operator` in `domain`; used as a decorator.

    Raises ValueError for a version that has a converter already.

    >>> @converter("Softsign", 99)
    ... def softsign(node: Node) -> TorchOperator:
    ...     return nn.Softsign()
    """

    def register(function: Converter) -> Converter:
        for version in versions:
            key = (domain, operator, version)
            if key in CONVERTERS:
                raise ValueError(f"{key} has a converter already")
            CONVERTERS[key] = function
        return function

    return register


_FLOATS = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}


def torch_type(elem_type: int) -> torch.dtype:
    """The Torch type in which values of an `onnx.TensorProto` type are computed: float32 for half and double precision.

    Raises NotImplementedError for strings, complex numbers, unknown types and those that NumPy lacks.
    """
    if elem_type in _FLOATS:
        return torch.float32
    if elem_type not in onnx.TensorProto.DataType.values():
        raise NotImplementedError(f"values of the unknown type {elem_type}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    if dtype.kind not in "biuf":
        raise NotImplementedError(f"values of type {onnx.TensorProto.DataType.Name(elem_type)}")
    return torch.from_numpy(np.zeros((), dtype)).dtype


#: Numbers that say how an operator computes, such as a shape: in Python where they are the same for all images, else a tensor.
HostValue = Tensor | Sequence[float]


def to_numbers(value: HostValue) -> list[float]:
    """The elements of a tensor, or of a sequence, as a list of Python numbers; a tensor on a GPU is waited for."""
    return list(value.reshape(-1).tolist() if isinstance(value, Tensor) else value)


def to_integers(value: HostValue) -> list[int]:
    """The elements of integers, such as a shape, as a list; a tensor on a GPU is waited for."""
    return [n if isinstance(n, torch.SymInt) else int(n) for n in to_numbers(value)]


def read_on_host(module: TorchOperator, *positions: int) -> TorchOperator:
    """Mark the inputs of a module that it reads as Python numbers, and that it takes as lists of them too."""
    setattr(module, _ON_HOST, positions)
    return module


def host_inputs(module: nn.Module) -> tuple[int, ...]:
    """Positions of the inputs that `read_on_host` marked."""
    return tuple(getattr(module, _ON_HOST, ()))


def limit_inputs(module: TorchOperator, count: int) -> TorchOperator:
    """Mark a module to be called with the node's first `count` inputs only: it holds the others as constants."""
    setattr(module, _TAKES, count)
    return module


def select_inputs(module: TorchOperator, names: Sequence[str]) -> tuple[str, ...]:
    """Select those of a node's inputs that its module is called with."""
    return tuple(names)[: getattr(module, _TAKES, None)]


class Apply(nn.Module):
    """Applies a stateless function to a node's inputs."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor | None) -> Any:
        return self.function(*inputs)


def schema_version(operator: str, domain: str, opset: int) -> int:
    """The schema version of an operator of `domain` at `opset`; the opset itself where there is no schema."""
    try:
        return int(onnx.defs.get_schema(operator, opset, domain).since_version)
    except onnx.defs.SchemaError:
        return opset
