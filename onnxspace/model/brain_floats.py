"""Images of type bfloat16, which NumPy and so ONNX Runtime's interface lack: the graph takes float32, which it converts at once."""

from __future__ import annotations

from dataclasses import replace

import onnx
from onnx import helper

from onnxspace.model.arrangement import make_free_name, rename_reads
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network

_T = onnx.TensorProto
#: What stands behind the name of an input in that of the tensor to which it is converted.
CONVERTED = "__bfloat16"


def feed_floats(network: Network, image: ImageInput) -> tuple[Network, ImageInput]:
    """Return `network` and its input `image` so that it takes float32 where the file takes bfloat16; others as they are."""
    if image.elem_type != _T.BFLOAT16:
        return network, image
    return _convert_input(network, image.name), replace(image, elem_type=_T.FLOAT)


def _convert_input(network: Network, name: str) -> Network:
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    inner = make_free_name(proto.graph, f"{name}{CONVERTED}")
    rename_reads(proto.graph.node, name, inner)
    rest = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([helper.make_node("Cast", [name], [inner], to=_T.BFLOAT16), *rest])
    next(value for value in proto.graph.input if value.name == name).type.tensor_type.elem_type = _T.FLOAT
    source = None if network.source is None else _convert_input(network.source, name)
    return replace(network, proto=proto, source=source)
