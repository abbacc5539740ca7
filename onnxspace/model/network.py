"""An ONNX graph whose large initialisers are kept outside the protobuf message, as arrays.

A protobuf message holds at most 2 GiB, and copies a tensor at every access. So weights are taken out of the message once;
it only declares their type and shape, and rewriting the graph moves no weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx.helper import make_tensor_value_info

from onnxspace.model.graph import Graph

#: Initialisers with more elements are kept outside the message; a smaller one may be a shape that inference needs.
SMALL = 4096
_PLACE = "beside"
_T = onnx.TensorProto
_PLAIN = {
    _T.FLOAT, _T.DOUBLE, _T.FLOAT16, _T.BOOL,
    _T.INT8, _T.INT16, _T.INT32, _T.INT64, _T.UINT8, _T.UINT16, _T.UINT32, _T.UINT64,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A graph, and the values of the initialisers that it only declares, by name.

    `source` is the network as its file holds it, where that was rewritten (see `onnxspace/model/rewriting.py`); None where it is this one.
    """

    proto: onnx.ModelProto
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    source: Network | None = None

    @cached_property
    def graph(self) -> Graph:
        """Queries on the main graph."""
        return Graph(self.proto, self.weights)

    def with_outputs(self, names: Iterable[str]) -> Network:
        """The same graph with the tensors `names` as its outputs."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        del proto.graph.output[:]
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return replace(self, proto=proto, source=None)


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor may be kept outside the message: a plain numeric type and more than `SMALL` elements."""
    return tensor.data_type in _PLAIN and math.prod(tensor.dims) > SMALL


def declare(tensor: onnx.TensorProto) -> onnx.TensorProto:
    """Declare a tensor by its name, type and shape alone, marked as having its values elsewhere."""
    declaration = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=_T.EXTERNAL)
    declaration.external_data.add(key="location", value=_PLACE)
    return declaration


def declare_array(name: str, values: NDArray[Any]) -> onnx.TensorProto:
    """Declare an array that is kept outside the message, as the initialiser `name`."""
    return declare(onnx.TensorProto(name=name, data_type=onnx.helper.np_dtype_to_tensor_dtype(values.dtype), dims=values.shape))


def separate_weights(model: onnx.ModelProto | Network) -> Network:
    """Return a network with large initialisers kept outside its message; `model` itself is not changed."""
    if isinstance(model, Network):
        return model
    large = {t.name: np.array(numpy_helper.to_array(t)) for t in model.graph.initializer if _should_separate(t)}
    if not large:
        return Network(model)
    proto = onnx.ModelProto()
    _copy_fields(model, proto, "graph")
    _copy_fields(model.graph, proto.graph, "initializer")
    proto.graph.initializer.extend(declare(t) if t.name in large else t for t in model.graph.initializer)
    return Network(proto, large)


def _should_separate(tensor: onnx.TensorProto) -> bool:
    return is_large(tensor) and not is_declared(tensor)


def is_declared(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is only declared, with its values outside the message."""
    return bool(tensor.data_location == _T.EXTERNAL)


def with_weights_as_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which initialisers that are only declared are inputs of the graph, after all others."""
    beside = {t.name: t for t in model.graph.initializer if is_declared(t)}
    if not beside:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.initializer[:], copy.graph.input[:]
    copy.graph.initializer.extend(t for t in model.graph.initializer if t.name not in beside)
    copy.graph.input.extend(v for v in model.graph.input if v.name not in beside)
    copy.graph.input.extend(make_tensor_value_info(t.name, t.data_type, t.dims) for t in beside.values())
    return copy


def _copy_fields(source: Message, target: Message, but: str) -> None:
    for described, value in source.ListFields():
        if described.name == but:
            continue
        place = getattr(target, described.name)
        if hasattr(place, "extend"):
            place.extend(value)
        elif isinstance(value, Message):
            place.CopyFrom(value)
        else:
            setattr(target, described.name, value)


def embed_weights(network: Network) -> onnx.ModelProto:
    """Return one message that includes all weights. Raises ValueError above the 2 GiB that protobuf can hold."""
    if not network.weights:
        return network.proto
    if sum(values.nbytes for values in network.weights.values()) >= onnx.checker.MAXIMUM_PROTOBUF:
        raise ValueError("weights of more than 2 GiB do not fit into one message")
    proto = onnx.ModelProto()
    _copy_fields(network.proto, proto, "graph")
    _copy_fields(network.proto.graph, proto.graph, "initializer")
    proto.graph.initializer.extend(_fill_initializers(network))
    return proto


def _fill_initializers(network: Network) -> Iterator[onnx.TensorProto]:
    for tensor in network.proto.graph.initializer:
        values = network.weights.get(tensor.name)
        yield tensor if values is None else numpy_helper.from_array(values, tensor.name)


def collect_initializers(network: Network) -> dict[str, NDArray[Any]]:
    """Collect the values of all initialisers that nodes of the main graph read, in order of first use."""
    small = {t.name: t for t in network.proto.graph.initializer if t.name not in network.weights}
    found: dict[str, NDArray[Any]] = {}
    for name in (name for node in network.graph.nodes for name in node.input):
        if name in network.weights:
            found.setdefault(name, network.weights[name])
        elif name in small and name not in found:
            found[name] = numpy_helper.to_array(small[name])
    return found
