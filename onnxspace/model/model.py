"""The model as the rest of onnxspace uses it: read safely, hashed and described, but not converted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, unexpected
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.inputs.preprocess import Color, Preprocess
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import ImageInput, find_image_input
from onnxspace.model.network import Network
from onnxspace.model.pixel_metadata.denotations import read_denotations
from onnxspace.model.pixel_metadata.read import read_pixels
from onnxspace.model.pixel_range import find_graph_range
from onnxspace.model.pixels import PixelSources, choose_pixels, list_guessed
from onnxspace.model.reader import read_model

DEFAULT_SIZE = 224
MAX_INPUT_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class Model:
    """One ONNX file: its graph, its checksum, and how probe images are fed to it.

    `path` and `name` are the file and the model's name, `sha256` the checksum of the file and its external data, `network`
    the graph with its weights, `image` the graph input for the image, `preprocess` the steps from uint8 pixels to that
    input. `encoder` is the requested tensor or node, or "auto"; `assumed` lists in words what was inferred because neither
    the file nor the configuration states it; `pixels` says where the preprocessing comes from, `warnings` what could not be read.
    """

    path: str
    name: str
    sha256: str
    network: Network
    image: ImageInput
    preprocess: Preprocess
    encoder: str = "auto"
    assumed: tuple[str, ...] = ()
    pixels: PixelRecord | None = None
    warnings: tuple[str, ...] = ()

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


def open_model(path: str | Path, encoder: str | None = None, options: ModelOptions | None = None) -> Model:
    """Open an ONNX file, which may be untrusted, and infer how images are fed to it.

    `path` is the `.onnx` file. `encoder` is the name of a tensor or node, or "auto" to select one; None uses the
    configured encoder, or "auto". `options` is the configuration of this model; None reads the sidecar beside the file.
    Nothing in the file is executed, but it is read in this process, not in a worker process with limits as the commands do it.

    Returns the model. Raises ModelNotFoundError where there is no such file, ModelError where it is not a valid ONNX model
    with an image input or can't be read for any other reason, ConfigError where the configuration contradicts the file.

    >>> model = open_model("model.onnx", encoder="auto")  # doctest: +SKIP
    """
    from onnxspace.inputs.config import load_sidecar

    try:
        return _open(path, encoder, load_sidecar(Path(path)) if options is None else options)
    except OnnxspaceError:
        raise
    except Exception as error:  # a defect in a library, or a damaged file
        raise ModelError(f"{unexpected(path, error)} Export it again.") from error


def _open(path: str | Path, encoder: str | None, options: ModelOptions) -> Model:
    network, digest = read_model(path)
    graph = network.graph
    denoted = options.over(read_denotations(graph.inputs, options.input))
    image = find_image_input(graph, str(path), denoted.input, denoted.layout)
    metadata = {entry.key: entry.value for entry in network.proto.metadata_props}
    written, warnings = read_pixels(Path(path), metadata, image)
    sources = PixelSources(written, find_graph_range(graph, image))
    preprocess, pixels = _choose_preprocess(str(path), image, options, sources)
    assumed = (*image.assumed, *pixels.assumptions())
    name = options.name or Path(path).stem
    wanted = encoder or options.encoder or "auto"
    return Model(str(path), name, digest, network, image, preprocess, wanted, assumed, pixels, warnings)


def _choose_preprocess(
    path: str, image: ImageInput, options: ModelOptions, sources: PixelSources
) -> tuple[Preprocess, PixelRecord]:
    """The preprocessing by the user's options and other sources, and where it comes from."""
    chosen = choose_pixels(path, image, options, sources)
    preprocess = _resolve_preprocess(path, image, chosen)
    guessed = list_guessed(image, chosen, (options, *sources.written))
    return preprocess, PixelRecord.of(preprocess, chosen.origin or "guessed", chosen.source or "", guessed)


def rename_model(model: Model, name: str) -> Model:
    """Return the same model under another name."""
    return replace(model, name=name)


def drop_graph(model: Model) -> Model:
    """Return the same model without its graph and weights, so that a model waiting for others takes no memory."""
    return replace(model, network=Network(onnx.ModelProto()))


def model_key(model: Model, tensors: tuple[str, ...]) -> str:
    """Return 32 hex digits for the model's part: the file's content, the encoder's `tensors`, the preprocessing and the input."""
    return hashlib.sha256(repr((model.sha256, tensors, model.preprocess, model.image.name)).encode()).hexdigest()[:32]


def _resolve_preprocess(path: str, image: ImageInput, options: ModelOptions) -> Preprocess:
    """The preprocessing of options that state a range."""
    preprocess = Preprocess(
        *_resolve_size(path, image, options), image.layout, _resolve_color(path, image, options), options.resize or "squash",
        1 / 255 if options.scale is None else options.scale, options.mean or (0.0,), options.std or (1.0,),
    )  # fmt: skip
    _check_channels(path, preprocess)
    return preprocess


def _resolve_size(path: str, image: ImageInput, options: ModelOptions) -> tuple[int, int]:
    if options.size is not None:
        for fixed, requested in zip((image.height, image.width), options.size, strict=True):
            if fixed not in (None, requested):
                raise ConfigError(
                    f"{path} takes {image.height}×{image.width} images, not the {options.size[0]}×{options.size[1]} of its "
                    "configuration. Correct `size`."
                )
        return options.size
    height, width = image.height or image.width or DEFAULT_SIZE, image.width or image.height or DEFAULT_SIZE
    if height * width > MAX_INPUT_PIXELS:
        raise ModelError(
            f"{path} takes images of {height}×{width} pixels; at most {MAX_INPUT_PIXELS} pixels are allowed. Leave it out."
        )
    return height, width


def _resolve_color(path: str, image: ImageInput, options: ModelOptions) -> Color:
    if image.channels == 1:
        if options.color not in (None, "GREY"):
            raise ConfigError(f"{path} takes grey images, not the {options.color} of its configuration. Correct `color`.")
        return "GREY"
    if options.color == "GREY":
        raise ConfigError(f"{path} takes three-channel images, not the GREY of its configuration. Correct `color`.")
    return options.color or "RGB"


def _check_channels(path: str, preprocess: Preprocess) -> None:
    for key in ("mean", "std"):
        if len(getattr(preprocess, key)) not in (1, preprocess.channels):
            raise ConfigError(
                f"{path}: `{key}` has {len(getattr(preprocess, key))} values for {preprocess.channels} channel(s). "
                "Give one, or one per channel."
            )
