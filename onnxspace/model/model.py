"""The model as the rest of onnxspace uses it: read safely, hashed and described, but not converted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, unexpected
from onnxspace.inputs.bands import BandPreprocess
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.names import join_tensors
from onnxspace.inputs.pixel_presets import DEFAULT_PRESET
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.inputs.preprocess import Color, Preprocess
from onnxspace.model.arrangement import Arrangement
from onnxspace.model.brain_floats import feed_floats
from onnxspace.model.channels import Channels, resolve_channels
from onnxspace.model.fit_inputs import FittedInputs, fit_inputs
from onnxspace.model.graph import Graph
from onnxspace.model.image_groups import ImageGroup
from onnxspace.model.image_input import WHOLE, ImageInput, find_image_input
from onnxspace.model.network import Network
from onnxspace.model.open_sizes import apply_open_size
from onnxspace.model.pixel_evidence import PixelEvidence, infer_pixels
from onnxspace.model.pixel_habits import Habit, find_habit
from onnxspace.model.pixel_metadata.denotations import read_denotations
from onnxspace.model.pixel_metadata.read import read_pixels
from onnxspace.model.pixel_range import EIGHT_BIT, find_graph_range
from onnxspace.model.pixels import PixelSources, choose_pixels, list_guessed
from onnxspace.model.reader import read_model
from onnxspace.storage.printable import make_printable
from onnxspace.storage.short_text import count, join_lines

DEFAULT_SIZE = 224
MAX_INPUT_PIXELS = 4096 * 4096
#: What the weights of the files that were opened last tell of their pixels.
_evidence: dict[tuple[str, str, Preprocess], PixelEvidence | None] = {}
_KEPT = 4096
#: The least span of values that are fed as integers. At 32 levels the features of ten quantised networks have a median cosine of
#: .98 with those at 256 (worst .96), at 16 levels of .90 (worst .68). Presets of floating-point inputs span up to 4.5, others 255.
_LEAST_SPAN = 32


@dataclass(frozen=True)
class Model:
    """One ONNX file: its graph, its checksum, and how probe images are fed to it.

    `path` and `name` are the file and the model's name, `sha256` the checksum of the file and its external data, `network`
    the graph with its weights, `image` the graph input for the image, `preprocess` the steps from uint8 pixels to that
    input. `encoder` is the requested tensor or node, several joined by ` + `, or "auto"; `assumed` lists in words what was inferred because neither
    the file nor the configuration states it; `pixels` says where the preprocessing comes from, `warnings` what could not be read.

    The graph takes a batch of images with four axes. Where the file's input is another, `arrangement` says how it holds images and
    `file_network` is the graph as it is in the file. `exact_bands` is the number of bands that probe images must have (None: any),
    `stated_inputs` a digest of the values that the configuration states for other inputs, empty where it states none. `group` says
    that the graph takes N images at a time and can't be opened to one; else None.
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
    arrangement: Arrangement | None = None
    file_network: Network | None = None
    exact_bands: int | None = None
    stated_inputs: str = ""
    group: ImageGroup | None = None

    def __repr__(self) -> str:
        maker = [f"Written by {make_printable(self.producer)}"] if self.producer else []
        size = " × ".join(map(str, self.input_shape[1:]))
        facts = f"{count(len(self.graph.nodes), 'node')}, opset {self.opset}, input {self.image.name} ({self.preprocess.layout}, {size})"
        return join_lines(
            f"Model {self.name!r} ({self.path})", maker, [make_printable(facts)], [f"Encoder: {make_printable(self.encoder)}"]
        )

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
        """The shape of the network's input for as many images as it takes at a time."""
        p, images = self.preprocess, self.images_at_once
        return (images, p.channels, p.height, p.width) if p.layout == "NCHW" else (images, p.height, p.width, p.channels)

    @property
    def images_at_once(self) -> int:
        """How many images the network takes at a time: 1 where it takes any number."""
        return 1 if self.group is None else self.group.size

    @property
    def identity(self) -> tuple[object, ...]:
        """What determines what the network computes of an image: content, preprocessing, input, and stated values of others."""
        stated = (self.stated_inputs,) if self.stated_inputs else ()
        return (self.sha256, self.preprocess, self.image.name, *stated)

    @property
    def advice(self) -> str:
        """What to do where the graph can't be run: an open size may be another one."""
        if None in (self.image.height, self.image.width):
            return "State the `size` of images that it takes in onnxspace.toml, or export it again."
        return "Export it again."

    def file_input(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return `images`, uint8 [images, size, size, bands], as the file's input takes them.

        A single one is repeated where that is a batch of fixed size.

        >>> model.file_input(np.zeros((1, 224, 224, 3), np.uint8)).shape  # doctest: +SKIP
        (1, 3, 224, 224)
        """
        values = self.preprocess(images)
        if self.arrangement is None:
            return values
        return self.arrangement.arrange(np.repeat(values, (self.arrangement.batch or 1) // len(values) or 1, axis=0))


def open_model(path: str | Path, encoder: str | Sequence[str] | None = None, options: ModelOptions | None = None) -> Model:
    """Open an ONNX file, which may be untrusted, and infer how images are fed to it.

    `path` is the `.onnx` file. `encoder` is the name of a tensor or node, several names, or "auto" to select one; None uses the
    configured encoder, or "auto". `options` is the configuration of this model; None reads the sidecar beside the file.
    Nothing in the file is executed but its own layers, which ONNX Runtime computes for a few images where nothing states their range.
    It is read in this process, not in a worker process with limits as the commands do it.

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
    denoted = options.over(read_denotations(graph.inputs, options.input))
    network, image = feed_floats(network, find_image_input(graph, str(path), denoted))
    options, kept = apply_open_size(options, image)
    graph = network.graph
    channels = resolve_channels(str(path), image, options)
    metadata = {entry.key: entry.value for entry in network.proto.metadata_props}
    written, warnings = read_pixels(Path(path), metadata, image)
    sources = PixelSources(written, find_graph_range(graph, image))
    chosen = choose_pixels(str(path), image, options, sources)
    if chosen.origin == "guessed" and channels.bands is None and image.elem_type not in WHOLE:
        guessed = _Guessed(network, image, _resolve_preprocess(str(path), image, chosen, channels))
        weights = _read_weights(digest, guessed, find_habit(graph, image, network.proto.producer_name))
        chosen = choose_pixels(str(path), image, options, replace(sources, weights=weights))
    fitted = fit_inputs(network, image, _resolve_preprocess(str(path), image, chosen, channels), channels, chosen, str(path))
    graphed = ModelOptions(color=None if sources.graph is None else sources.graph.color)
    unknown = list_guessed(image, chosen, (options, *written, graphed), assumes_bands=channels.exact is not None)
    axes, origin = "" if image.axes == image.layout else image.axes, chosen.origin or "guessed"
    pixels = PixelRecord.of(fitted.preprocess, origin, chosen.source or "", unknown, axes, channels.bands or ())
    pixels = replace(pixels, geometry=chosen.geometry or "")
    mixed = () if fitted.group is None else fitted.group.warnings(str(path))
    name = options.name or Path(path).stem
    wanted = encoder or options.encoder or "auto"
    assumed = (*kept, *image.assumed, *channels.assumed, *_list_assumed(pixels, fitted), *fitted.assumed)
    return Model(
        str(path), name, digest, fitted.network, fitted.image, fitted.preprocess, wanted, assumed, pixels, (*warnings, *mixed),
        fitted.arrangement, network if fitted.network is not network else None, channels.exact, fitted.stated_inputs, fitted.group,
    )  # fmt: skip


@dataclass(frozen=True)
class _Guessed:
    """A network with a guessed preprocessing, from which its pixels are inferred."""

    network: Network
    image: ImageInput
    preprocess: Preprocess


def _read_weights(digest: str, guessed: _Guessed, habit: Habit) -> ModelOptions | None:
    """The preset that evidence in a network's weights tells: inferred where it stands out, else a better guess, or the habit.

    A file with this SHA-256 `digest` is looked into once per process: commands open a model for their table, and at its turn.
    """
    key = digest, guessed.image.name, guessed.preprocess
    if key not in _evidence:
        while len(_evidence) >= _KEPT:
            _evidence.pop(next(iter(_evidence)))
        _evidence[key] = infer_pixels(guessed)
    found = _evidence[key]
    if found is not None and (found.sure or found.guess(habit) != habit.preset):
        return ModelOptions(pixels=found.preset, origin="inferred" if found.sure else "guessed", source=found.reason)
    return None if habit.preset == DEFAULT_PRESET else ModelOptions(pixels=habit.preset, origin="guessed", source=habit.reason)


def _list_assumed(pixels: PixelRecord, fitted: FittedInputs) -> Iterator[str]:
    """What nothing states of the pixels; where a size was tried, `fitted` says so."""
    tried = any(words.startswith("size ") for words in fitted.assumed)
    yield from (words for words in pixels.assumptions() if not (tried and words.startswith("size ")))


def rename_model(model: Model, name: str) -> Model:
    """Return the same model under another name."""
    return replace(model, name=name)


def drop_graph(model: Model) -> Model:
    """Return the same model without its graph and weights, so that a model waiting for others takes no memory."""
    return replace(model, network=Network(onnx.ModelProto()), file_network=None)


def model_key(model: Model, tensors: tuple[str, ...], deviations: tuple[str, ...] = ()) -> str:
    """Return 32 hex digits for what is explained of a model: the file's content, the encoder's `tensors`, preprocessing and input.

    `deviations` are those tensors of which the units' deviations are explained instead of their sum.
    """
    sha256, *others = model.identity
    facts = (sha256, tensors, *others, *([deviations] if deviations else []))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _resolve_preprocess(path: str, image: ImageInput, options: ModelOptions, channels: Channels) -> Preprocess:
    """The preprocessing of options that state a range."""
    color = _resolve_color(path, image, options) if channels.bands is None else "RGB"
    mean, std = (
        _repeat_for_frames(values or (default,), image, channels)
        for values, default in ((options.mean, 0.0), (options.std, 1.0))
    )
    values = (
        *_resolve_size(path, image, options), image.layout, color, options.resize or "squash",
        1 / 255 if options.scale is None else options.scale, mean, std,
    )  # fmt: skip
    preprocess = Preprocess(*values) if channels.bands is None else BandPreprocess(*values, channels.bands)
    _check_channels(path, preprocess)
    if image.elem_type in EIGHT_BIT | WHOLE:
        _check_whole(path, preprocess, "8-bit pixels" if image.elem_type in EIGHT_BIT else "integers")
    return preprocess


def _check_whole(path: str, preprocess: Preprocess, kind: str) -> None:
    """Raise ConfigError for a range of which integers hold a few values only, such as [0, 1]."""
    span = 255 * preprocess.scale / np.asarray(preprocess.std)
    if float(np.abs(span).max()) < _LEAST_SPAN:
        raise ConfigError(f"{path} takes {kind}, which can't hold the range that is stated. Leave it out, or state byte.")


def _repeat_for_frames(values: tuple[float, ...], image: ImageInput, channels: Channels) -> tuple[float, ...]:
    """Values of the channels of one frame as those of all frames."""
    return values * channels.frames if len(values) == image.channels > 1 else values


def _resolve_size(path: str, image: ImageInput, options: ModelOptions) -> tuple[int, int]:
    if options.size is not None:
        for fixed, requested in zip((image.height, image.width), options.size, strict=True):
            if fixed not in (None, requested):
                raise ConfigError(
                    f"{path} takes {image.height}×{image.width} images, not the {options.size[0]}×{options.size[1]} that "
                    "are stated. Correct `size`, or state it for the models alone whose size is open: --size MODEL=N."
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
            raise ConfigError(f"{path} takes grey images, not the {options.color} that is stated. Correct `color`.")
        return "GREY"
    if options.color == "GREY":
        raise ConfigError(f"{path} takes three-channel images, not the GREY that is stated. Correct `color`.")
    return options.color or "RGB"


def _check_channels(path: str, preprocess: Preprocess) -> None:
    for key in ("mean", "std"):
        if len(getattr(preprocess, key)) not in (1, preprocess.channels):
            raise ConfigError(
                f"{path}: `{key}` has {count(len(getattr(preprocess, key)), 'value')} for {count(preprocess.channels, 'channel')}. "
                "Give one, or one per channel."
            )
