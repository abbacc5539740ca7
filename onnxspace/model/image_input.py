"""Which graph input is the image, and which layout it has."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxspace.errors import ModelError
from onnxspace.inputs.preprocess import Layout
from onnxspace.model.graph import Graph

_T = onnx.TensorProto
_IMAGE_TYPES = {_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.DOUBLE, _T.UINT8, _T.INT8}
_CHANNELS_FIRST = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "QLinearConv", "ConvInteger", "FusedConv"}
#: Operators that may stand between the image and the first layer: those that keep values, and those that scale them.
MOVING = frozenset(
    {"Cast", "CastLike", "Identity", "Transpose", "Pad", "Resize", "Upsample", "Gather", "Slice", "Squeeze", "Unsqueeze"}
)
_PASSING = MOVING | {"Clip", "QuantizeLinear", "DequantizeLinear", "Mul", "Div", "Sub", "Add", "BatchNormalization"}


@dataclass(frozen=True)
class ImageInput:
    """The graph input that takes the image.

    `height` and `width` (pixels) and `batch` are None where the file leaves them open; `elem_type` is its
    `onnx.TensorProto` type; `assumed` lists what was inferred, in words.
    """

    name: str
    layout: Layout
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    elem_type: int
    assumed: tuple[str, ...] = ()


def dims(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Sizes of a value, None for each open axis; None instead of a list where the rank is unknown."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]


def find_image_input(graph: Graph, path: str, wanted: str | None = None, layout: Layout | None = None) -> ImageInput:
    """Find the image input of `graph`: the one named `wanted`, or the only one with four axes and one or three channels.

    `path` is the file's name for messages, `layout` the layout that the user configured. Raises ModelError where none or
    several inputs fit.
    """
    candidates = [v for v in graph.inputs if _may_be_image(v) and (wanted is None or v.name == wanted)]
    if not candidates:
        raise ModelError(_explain_missing_image(graph, path, wanted))
    readable = [_read_image_input(graph, v, layout) for v in candidates]
    fitting = [image for image in readable if image is not None and image.channels in (1, 3)]
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) > 1:
        names = ", ".join(image.name for image in fitting)
        raise ModelError(f"{path} takes several images ({names}). Name one as `input` in onnxspace.toml.")
    raise ModelError(_explain_unfit_image(path, candidates[0], readable[0]))


def _may_be_image(value: onnx.ValueInfoProto) -> bool:
    sizes = dims(value)
    return value.type.tensor_type.elem_type in _IMAGE_TYPES and sizes is not None and len(sizes) == 4


def _explain_missing_image(graph: Graph, path: str, wanted: str | None) -> str:
    found = ", ".join(f"{v.name} {_describe_shape(v)}" for v in graph.inputs) or "none"
    if wanted is not None:
        return f"{path} has no image input named {wanted!r} (its inputs: {found}). Correct `input` in onnxspace.toml."
    return (
        f"{path} has no image input: it takes {found}. Leave it out: only networks that take a batch of images can be compared."
    )


def _describe_shape(value: onnx.ValueInfoProto) -> str:
    sizes = dims(value)
    return "of unknown shape" if sizes is None else "×".join("?" if n is None else str(n) for n in sizes) or "a scalar"


def _explain_unfit_image(path: str, value: onnx.ValueInfoProto, image: ImageInput | None) -> str:
    if image is None:
        return (
            f"{path}: can't tell which axis of {value.name} {_describe_shape(value)} holds the channels. "
            'Set `layout` to "NCHW" or "NHWC" in onnxspace.toml.'
        )
    return (
        f"{path} takes images of {image.channels} channels ({value.name} {_describe_shape(value)}) and can't share probe "
        "images with other models, which are RGB or grey. Leave it out."
    )


def _read_image_input(graph: Graph, value: onnx.ValueInfoProto, layout: Layout | None) -> ImageInput | None:
    sizes = dims(value) or [None] * 4
    found, channels, assumed = _find_layout(graph, value.name, sizes, layout)
    if found is None or channels is None:
        return None
    height, width = sizes[2:] if found == "NCHW" else sizes[1:3]
    elem_type = value.type.tensor_type.elem_type
    return ImageInput(value.name, found, channels, height, width, sizes[0], elem_type, assumed)


def _find_layout(
    graph: Graph, name: str, sizes: list[int | None], configured: Layout | None
) -> tuple[Layout | None, int | None, tuple[str, ...]]:
    """Layout and channels, by the only axis of size one or three, else by the first layer; with what was assumed."""
    by_axis: dict[Layout, int | None] = {"NCHW": sizes[1], "NHWC": sizes[3]}
    traced, channels = _trace_layout(graph, name)
    if configured is not None:
        return configured, by_axis[configured] or channels, ()
    fits: list[Layout] = [layout for layout, count in by_axis.items() if count in (1, 3)]
    choice = fits[0] if len(fits) == 1 else traced
    if choice is None:
        return None, None, ()
    how = f"layout {choice} from the input's shape" if len(fits) == 1 else f"layout {choice} from the first layer"
    return choice, by_axis[choice] or channels, (how,)


def follow_image(graph: Graph, name: str) -> list[onnx.NodeProto]:
    """The chain of nodes from the image to the first one that is not mere preprocessing, that one included."""
    chain: list[onnx.NodeProto] = []
    while True:
        followers = [i for i in graph.consumers.get(name, []) if graph.nodes[i].op_type not in {"Shape", "Size"}]
        if len(followers) != 1 or len(chain) > 32:
            return chain
        node = graph.nodes[followers[0]]
        chain.append(node)
        if node.op_type not in _PASSING or not node.output:
            return chain
        name = node.output[0]


def _trace_layout(graph: Graph, name: str) -> tuple[Layout | None, int | None]:
    layout: Layout = "NCHW"
    for node in follow_image(graph, name):
        if node.op_type == "Transpose":
            perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            layout = "NHWC" if perm == [0, 3, 1, 2] else layout
        if node.op_type in _CHANNELS_FIRST:
            return layout, _channels_of(graph, node)
    return None, None


def _channels_of(graph: Graph, node: onnx.NodeProto) -> int | None:
    weight = graph.initializers.get(node.input[1]) if len(node.input) > 1 else None
    if weight is None or node.op_type != "Conv" or len(weight.dims) != 4:
        return None
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    return int(weight.dims[1] * group)
