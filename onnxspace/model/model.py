"""A model as the rest of onnxspace sees it: opened safely, hashed, described; nothing converted yet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.preprocess import Color, Preprocess
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import ImageInput, find_image_input, value_range
from onnxspace.model.network import Network
from onnxspace.model.reader import read_model

DEFAULT_SIZE = 224
MAX_INPUT_PIXELS = 4096 * 4096


@dataclass(frozen=True)
class Model:
    """One ONNX file: its graph, what identifies it, and how probe images are fed to it.

    `encoder` is the tensor or node that was asked for, or `auto`; `assumed` says in words what nobody stated.
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
        """The graph's message; large tensors are only declared in it, and lie in `network.weights`."""
        return self.network.proto

    @property
    def graph(self) -> Graph:
        return self.network.graph

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return max((o.version for o in self.proto.opset_import if o.domain in ("", "ai.onnx")), default=0)

    @property
    def producer(self) -> str:
        return f"{self.proto.producer_name} {self.proto.producer_version}".strip()

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """The shape of one image as this network takes it, batch of 1."""
        p = self.preprocess
        return (1, p.channels, p.height, p.width) if p.layout == "NCHW" else (1, p.height, p.width, p.channels)


def open_model(path: str | Path, encoder: str | None = None, options: ModelOptions | None = None) -> Model:
    """Open an ONNX file safely and describe it.

    `encoder` is a tensor or node name, or `auto`; `options` are what the user said of this model (None: what its sidecar
    says). Raises ModelNotFoundError and ModelError, with the file's name and the way out.
    """
    from onnxspace.inputs.config import load_sidecar

    options = load_sidecar(Path(path)) if options is None else options
    network, digest = read_model(path)
    graph = network.graph
    image = find_image_input(graph, str(path), options.input, options.layout)
    preprocess, assumed = _preprocess(str(path), graph, image, options)
    name = options.name or Path(path).stem
    wanted = encoder or options.encoder or "auto"
    return Model(str(path), name, digest, network, image, preprocess, wanted, assumed)


def renamed(model: Model, name: str) -> Model:
    """The same model under another name."""
    return replace(model, name=name)


def emptied(model: Model) -> Model:
    """The same model without its graph: one that waits for others is not to fill the memory."""
    return replace(model, network=Network(onnx.ModelProto()))


def _preprocess(path: str, graph: Graph, image: ImageInput, said: ModelOptions) -> tuple[Preprocess, tuple[str, ...]]:
    height, width, sized = _size(path, image, said)
    color, coloured = _color(path, image, said)
    low, high, why = value_range(graph, image)
    ranged: tuple[str, ...] = ()
    if said.scale is None and said.mean is None and said.std is None:
        ranged = (why,)
        said = replace(said, scale=(high - low) / 255, mean=(-low,), std=(1.0,))
    made = Preprocess(
        height, width, image.layout, color, said.resize or "squash",
        1 / 255 if said.scale is None else said.scale, said.mean or (0.0,), said.std or (1.0,),
    )  # fmt: skip
    _check_channels(path, made)
    return made, image.assumed + sized + coloured + ranged


def _size(path: str, image: ImageInput, said: ModelOptions) -> tuple[int, int, tuple[str, ...]]:
    if said.size is not None:
        for fixed, asked in zip((image.height, image.width), said.size, strict=True):
            if fixed not in (None, asked):
                raise ConfigError(
                    f"{path} takes {image.height}×{image.width} images, not the {said.size[0]}×{said.size[1]} of its "
                    "configuration. Correct `size`."
                )
        return *said.size, ()
    height, width = image.height or DEFAULT_SIZE, image.width or DEFAULT_SIZE
    if height * width > MAX_INPUT_PIXELS:
        raise ModelError(
            f"{path} takes images of {height}×{width} pixels; at most {MAX_INPUT_PIXELS} pixels are allowed. Leave it out."
        )
    return height, width, () if image.height and image.width else (f"size {height}×{width}, because the input's is open",)


def _color(path: str, image: ImageInput, said: ModelOptions) -> tuple[Color, tuple[str, ...]]:
    if image.channels == 1:
        if said.color not in (None, "GREY"):
            raise ConfigError(f"{path} takes grey images, not the {said.color} of its configuration. Correct `color`.")
        return "GREY", ()
    if said.color == "GREY":
        raise ConfigError(f"{path} takes three-channel images, not the GREY of its configuration. Correct `color`.")
    return (said.color, ()) if said.color else ("RGB", ("channels in RGB order",))


def _check_channels(path: str, made: Preprocess) -> None:
    for key in ("mean", "std"):
        if len(getattr(made, key)) not in (1, made.channels):
            raise ConfigError(
                f"{path}: `{key}` has {len(getattr(made, key))} values for {made.channels} channel(s). Give one, or one per channel."
            )
