"""The model as the rest of onnxspace uses it: read safely, hashed and described, but not converted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, unexpected
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.names import join_tensors
from onnxspace.inputs.preprocess import Color, Preprocess
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import ImageInput, find_image_input, value_range
from onnxspace.model.network import Network
from onnxspace.model.reader import read_model

DEFAULT_SIZE = 224
MAX_INPUT_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class Model:
    """One ONNX file: its graph, its checksum, and how probe images are fed to it.

    `path` and `name` are the file and the model's name, `sha256` the checksum of the file and its external data, `network`
    the graph with its weights, `image` the graph input for the image, `preprocess` the steps from uint8 pixels to that
    input. `encoder` is the requested tensor or node, several joined by ` + `, or "auto"; `assumed` lists in words what was inferred because neither
    the file nor the configuration states it.
    """

    path: str
    name: str
    sha256: str
    network: Network
    image: ImageInput
    preprocess: Preprocess
    encoder: str = "auto"
    assumed: tuple[str, ...] = ()

    @property
    def proto(self) -> onnx.ModelProto:
        """The ONNX message; large tensors are only declared in it, and their values are in `network.weights`."""
        return self.network.proto

    @property
    def graph(self) -> Graph:
        """Queries on the main graph."""
        return self.network.graph

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return max((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)

    @property
    def producer(self) -> str:
        """Name and version of the software that wrote the file, empty where the file has neither."""
        return f"{self.proto.producer_name} {self.proto.producer_version}".strip()

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape of the network's input for one image, with a batch axis of 1."""
        p = self.preprocess
        return (1, p.channels, p.height, p.width) if p.layout == "NCHW" else (1, p.height, p.width, p.channels)


def open_model(path: str | Path, encoder: str | Sequence[str] | None = None, options: ModelOptions | None = None) -> Model:
    """Open an ONNX file, which may be untrusted, and infer how images are fed to it.

    `path` is the `.onnx` file. `encoder` is the name of a tensor or node, several names, or "auto" to select one; None uses the
    configured encoder, or "auto". `options` is the configuration of this model; None reads the sidecar beside the file.
    Nothing in the file is executed, but it is read in this process, not in a worker process with limits as the commands do it.

    Returns the model. Raises ModelNotFoundError where there is no such file, ModelError where it is not a valid ONNX model
    with an image input or can't be read for any other reason, ConfigError where the configuration contradicts the file.

    >>> model = open_model("model.onnx", encoder="auto")  # doctest: +SKIP
    """
    from onnxspace.inputs.config import load_sidecar

    try:
        return _open(path, join_tensors(encoder), load_sidecar(Path(path)) if options is None else options)
    except OnnxspaceError:
        raise
    except Exception as error:  # a defect in a library, or a damaged file
        raise ModelError(f"{unexpected(path, error)} Export it again.") from error


def _open(path: str | Path, encoder: str | None, options: ModelOptions) -> Model:
    network, digest = read_model(path)
    graph = network.graph
    image = find_image_input(graph, str(path), options.input, options.layout)
    preprocess, assumed = _resolve_preprocess(str(path), graph, image, options)
    name = options.name or Path(path).stem
    wanted = encoder or options.encoder or "auto"
    return Model(str(path), name, digest, network, image, preprocess, wanted, assumed)


def rename_model(model: Model, name: str) -> Model:
    """Return the same model under another name."""
    return replace(model, name=name)


def drop_graph(model: Model) -> Model:
    """Return the same model without its graph and weights, so that a model waiting for others takes no memory."""
    return replace(model, network=Network(onnx.ModelProto()))


def model_key(model: Model, tensors: tuple[str, ...], deviations: tuple[str, ...] = ()) -> str:
    """Return 32 hex digits for what is explained of a model: the file's content, the encoder's `tensors`, preprocessing and input.

    `deviations` are those tensors of which the units' deviations are explained instead of their sum.
    """
    facts = (model.sha256, tensors, model.preprocess, model.image.name, *([deviations] if deviations else []))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _resolve_preprocess(
    path: str, graph: Graph, image: ImageInput, options: ModelOptions
) -> tuple[Preprocess, tuple[str, ...]]:
    height, width, sized = _resolve_size(path, image, options)
    color, coloured = _resolve_color(path, image, options)
    low, high, why = value_range(graph, image)
    ranged: tuple[str, ...] = ()
    if options.scale is None and options.mean is None and options.std is None:
        ranged = (why,)
        options = replace(options, scale=(high - low) / 255, mean=(-low,), std=(1.0,))
    preprocess = Preprocess(
        height, width, image.layout, color, options.resize or "squash",
        1 / 255 if options.scale is None else options.scale, options.mean or (0.0,), options.std or (1.0,),
    )  # fmt: skip
    _check_channels(path, preprocess)
    return preprocess, image.assumed + sized + coloured + ranged


def _resolve_size(path: str, image: ImageInput, options: ModelOptions) -> tuple[int, int, tuple[str, ...]]:
    if options.size is not None:
        for fixed, requested in zip((image.height, image.width), options.size, strict=True):
            if fixed not in (None, requested):
                raise ConfigError(
                    f"{path} takes {image.height}×{image.width} images, not the {options.size[0]}×{options.size[1]} of its "
                    "configuration. Correct `size`."
                )
        return *options.size, ()
    height, width = image.height or image.width or DEFAULT_SIZE, image.width or image.height or DEFAULT_SIZE
    if height * width > MAX_INPUT_PIXELS:
        raise ModelError(
            f"{path} takes images of {height}×{width} pixels; at most {MAX_INPUT_PIXELS} pixels are allowed. Leave it out."
        )
    return height, width, () if image.height and image.width else (f"size {height}×{width}, because the input's is open",)


def _resolve_color(path: str, image: ImageInput, options: ModelOptions) -> tuple[Color, tuple[str, ...]]:
    if image.channels == 1:
        if options.color not in (None, "GREY"):
            raise ConfigError(f"{path} takes grey images, not the {options.color} of its configuration. Correct `color`.")
        return "GREY", ()
    if options.color == "GREY":
        raise ConfigError(f"{path} takes three-channel images, not the GREY of its configuration. Correct `color`.")
    return (options.color, ()) if options.color else ("RGB", ("channels in RGB order",))


def _check_channels(path: str, preprocess: Preprocess) -> None:
    for key in ("mean", "std"):
        if len(getattr(preprocess, key)) not in (1, preprocess.channels):
            raise ConfigError(
                f"{path}: `{key}` has {len(getattr(preprocess, key))} values for {preprocess.channels} channel(s). "
                "Give one, or one per channel."
            )
