"""Which graph input is the image, and which layout it has."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from onnxspace.errors import ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Layout
from onnxspace.model.graph import Graph
from onnxspace.model.image_axes import FirstLayer, InputAxes, read_axes

_T = onnx.TensorProto
_IMAGE_TYPES = {_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.DOUBLE, _T.UINT8, _T.INT8}
#: Types of whole numbers that other inputs have more often than images: sizes, indices, tokens.
WHOLE = frozenset({_T.UINT16, _T.INT16, _T.UINT32, _T.INT32, _T.UINT64, _T.INT64})
_CHANNELS_FIRST = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "QLinearConv", "ConvInteger", "FusedConv"}
#: Operators that may stand between the image and the first layer: those that keep values, and those that scale them.
MOVING = frozenset(
    {"Cast", "CastLike", "Identity", "Transpose", "Pad", "Resize", "Upsample", "Gather", "Slice", "Squeeze", "Unsqueeze"}
)
_PASSING = MOVING | {
    "ImageScaler",
    "Clip",
    "QuantizeLinear",
    "DequantizeLinear",
    "Mul",
    "Div",
    "Sub",
    "Add",
    "BatchNormalization",
}


@dataclass(frozen=True)
class ImageInput:
    """The graph input that takes the image.

    `height` and `width` (pixels), `batch` and `frames` are None where the file leaves them open; `channels` are those of one
    frame; `elem_type` is its `onnx.TensorProto` type; `assumed` lists what was inferred, in words. `axes` is the order of the
    input's axes, "NV" for flattened images, `layout` that in which pixels are prepared.
    """

    name: str
    layout: Layout
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    elem_type: int
    assumed: tuple[str, ...] = ()
    axes: InputAxes = "NCHW"
    frames: int | None = 1


def dims(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Sizes of a value, None for each open axis; None instead of a list where the rank is unknown."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim]


def find_image_input(graph: Graph, path: str, options: ModelOptions) -> ImageInput:
    """Find the image input of `graph`: the one that `options` name, or the only one with four axes and one or three channels.

    Where none has four axes, single, grey and flattened images, videos and volumes are considered. Inputs of 16-bit and longer
    integers are considered where no other input may be an image; with other than four axes, only if `layout` or `input` is stated.
    Inputs whose values `options` state are none. `path` is the file's name for messages. Raises ModelError where none or several inputs fit.
    """
    candidates = _list_candidates(graph, options)
    four = [v for v in candidates if _rank(v) == 4]
    if not four:
        return _find_other_image(graph, path, candidates, options)
    readable = [_read_image_input(graph, v, options) for v in four]
    known = [image for image in readable if image is not None]
    fitting = [image for image in known if image.channels in (1, 3)] or [
        image for image in known if image.channels != 4 or options.bands
    ]
    if len(fitting) == 1:
        _check_first_layer(graph, path, fitting[0], options)
        return fitting[0]
    if len(fitting) > 1:
        raise _several(path, fitting)
    raise ModelError(_explain_unfit_image(path, four[0], readable[0]))


def _list_candidates(graph: Graph, options: ModelOptions) -> list[onnx.ValueInfoProto]:
    given = {} if options.inputs is None else options.inputs
    fitting = [v for v in graph.inputs if v.name not in given and _fits(v, options)]
    usual = [v for v in fitting if v.type.tensor_type.elem_type in _IMAGE_TYPES]
    stated = options.layout is not None or options.input is not None
    return usual or [v for v in fitting if v.type.tensor_type.elem_type in WHOLE and (stated or _rank(v) == 4)]


def _several(path: str, fitting: list[ImageInput]) -> ModelError:
    names = ", ".join(image.name for image in fitting)
    return ModelError(f"{path} takes several images ({names}). Name one as `input` in onnxspace.toml.")


def _find_other_image(graph: Graph, path: str, candidates: list[onnx.ValueInfoProto], options: ModelOptions) -> ImageInput:
    """The only input of two, three or five axes that can be read as an image."""
    found = [image for v in candidates if (image := _read_other_image(graph, v, options)) is not None]
    if len(found) == 1:
        return found[0]
    raise _several(path, found) if found else ModelError(_explain_missing_image(graph, path, options.input))


def _read_other_image(graph: Graph, value: onnx.ValueInfoProto, options: ModelOptions) -> ImageInput | None:
    chain = follow_image(graph, value.name)
    read = read_axes(dims(value) or [], _describe_layer(graph, chain[-1]) if chain else None, options)
    if read is None or read.channels is None:
        return None
    shape, words = _describe_shape(value), "flattened images" if read.axes == "NV" else f"layout {read.axes}"
    assumed = () if options.layout is not None else (f"{words} from the input's shape {shape}",)
    return ImageInput(
        value.name, read.layout, read.channels, read.height, read.width, read.batch, value.type.tensor_type.elem_type, assumed,
        read.axes, read.frames,
    )  # fmt: skip


def _describe_layer(graph: Graph, node: onnx.NodeProto) -> FirstLayer:
    weight = graph.initializers.get(node.input[1]) if node.op_type == "Conv" and len(node.input) > 1 else None
    if weight is None or len(weight.dims) < 3:
        return FirstLayer(node.op_type)
    return FirstLayer(node.op_type, len(weight.dims), int(weight.dims[1] * _groups_of(node)))


def _groups_of(node: onnx.NodeProto) -> int:
    return int(next((a.i for a in node.attribute if a.name == "group"), 1))


def _rank(value: onnx.ValueInfoProto) -> int:
    return len(dims(value) or ())


def _fits(value: onnx.ValueInfoProto, options: ModelOptions) -> bool:
    return options.input in (None, value.name) and _has_stated_axes(_rank(value), options)


def _has_stated_axes(rank: int, options: ModelOptions) -> bool:
    flattened = rank == 2 and options.layout in ("NCHW", "NHWC")
    return 2 <= rank <= 5 and (options.layout is None or len(options.layout) == rank or flattened)


def _explain_missing_image(graph: Graph, path: str, wanted: str | None) -> str:
    found = ", ".join(f"{v.name} {_describe_shape(v)}" for v in graph.inputs) or "none"
    if wanted is not None and wanted not in {v.name for v in graph.inputs}:
        return f"{path} has no image input named {wanted!r} (its inputs: {found}). Correct `input` in onnxspace.toml."
    if not graph.inputs:
        return f"{path} has no image input, since it has no inputs at all. Export it with its input."
    named = [v for v in graph.inputs if wanted in (None, v.name)]
    if not any(v.type.tensor_type.elem_type in _IMAGE_TYPES | WHOLE for v in named):
        kinds = " and ".join(dict.fromkeys(_describe_kind(v) for v in named))
        return f"{path} takes {found}, of type {kinds}, which no image has. Export it with an image of floating-point numbers or integers."
    return (
        f"{path} has no image input: it takes {found}. State its `layout` (and the `size` of flattened images) in onnxspace.toml "
        "if one of these is an image, or leave it out."
    )


def _describe_kind(value: onnx.ValueInfoProto) -> str:
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


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
        f"{path} takes images of {image.channels} channels ({value.name} {_describe_shape(value)}), and nothing says what the "
        "fourth is. State the bands of the probe images that go into them as `bands` in onnxspace.toml, or leave it out."
    )


def _check_first_layer(graph: Graph, path: str, image: ImageInput, options: ModelOptions) -> None:
    """Refuse a stated layout in which the first layer would get another number of channels than it takes."""
    traced = _trace_layout(graph, image.name)[1]
    if image.channels not in (1, 3) and options.layout is not None and traced not in (None, image.channels):
        raise ModelError(
            f"{path} would take images of {image.channels} channels by its layout {options.layout}, but its first layer takes "
            f"{traced}. Correct `layout` in onnxspace.toml."
        )


def _read_image_input(graph: Graph, value: onnx.ValueInfoProto, options: ModelOptions) -> ImageInput | None:
    sizes = dims(value) or [None] * 4
    found, channels, assumed = _find_layout(graph, value.name, sizes, options)
    if found is None or channels is None:
        return None
    height, width = sizes[2:] if found == "NCHW" else sizes[1:3]
    elem_type = value.type.tensor_type.elem_type
    return ImageInput(value.name, found, channels, height, width, sizes[0], elem_type, assumed, found)


def _find_layout(
    graph: Graph, name: str, sizes: list[int | None], options: ModelOptions
) -> tuple[Layout | None, int | None, tuple[str, ...]]:
    """Layout and channels, by the only axis of size one or three (or of the stated bands), else by the first layer.

    Also returns what was assumed.
    """
    by_axis: dict[Layout, int | None] = {"NCHW": sizes[1], "NHWC": sizes[3]}
    traced, channels = _trace_layout(graph, name)
    if options.layout in ("NCHW", "NHWC"):
        return options.layout, by_axis[options.layout] or channels, ()
    counts = (1, 3) if options.bands is None else (len(options.bands),)
    fits: list[Layout] = [layout for layout, count in by_axis.items() if count in counts]
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
    return int(weight.dims[1] * _groups_of(node))
