"""Open the two models of a comparison, and give both the same values for the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.differences.child.segments import MOST_SECONDS
from onnxspace.differences.child.sides import Feed, Side, read_side
from onnxspace.errors import ModelError
from onnxspace.model.constant_weights import MOST_STEPS
from onnxspace.model.feeds import generate_feeds
from onnxspace.model.image_groups import fill_group
from onnxspace.model.image_input import dims
from onnxspace.model.model import Model, open_model
from onnxspace.model.network import Network
from onnxspace.model.reader import read_model
from onnxspace.model.runtime import Runner
from onnxspace.workflows.requests import LocatedModel

#: Where the range of pixels comes from if neither the file nor the user states it.
_UNSTATED = ("guessed", "inferred")
_LONGEST = 2**26
#: The step and the zero of an image that is not rounded.
_PLAIN = (1.0, 0.0)
_TURNING = frozenset({"Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class OpenedModel:
    """A model that was opened: its network as it is in the file, checksum, and the model as images reach it (None: it takes none)."""

    located: LocatedModel
    network: Network
    sha256: str
    model: Model | None


def open_located(located: LocatedModel) -> OpenedModel:
    """Open a model, which need not take images. Raises ModelError and its subclasses, ConfigError."""
    try:
        model = open_model(located.file, located.encoder, located.model_options())
    except ModelError:
        network, digest = read_model(located.file)
        return OpenedModel(located, network, digest, None)
    return OpenedModel(located, model.file_network or model.network, model.sha256, model)


def make_sides(old: OpenedModel, new: OpenedModel, images: NDArray[np.uint8]) -> tuple[Side, Side]:
    """The sides of two models, fed with `images` uint8 [images, size, size, bands], or with random values where one takes none.

    Raises ModelError for inputs that no values are known for.
    """
    if old.model is None or new.model is None:
        feeds = _make_random_feeds(old, new, len(images))
    else:
        first, second = _share_pixels(old.model, new.model)
        feeds = [_make_feeds(one, model, images) for one, model in ((old, first), (new, second))]
    both = [read_side(one.network, one.located.path, feed) for one, feed in zip((old, new), feeds, strict=True)]
    return both[0], both[1]


def _share_pixels(old: Model, new: Model) -> tuple[Model, Model]:
    """Both models with one range of pixels, unless each states its own; open sizes are those of the other."""
    origins = [None if model.pixels is None else model.pixels.origin for model in (old, new)]
    if origins[1] in _UNSTATED and old.preprocess.channels == new.preprocess.channels:
        new = _take_pixels(new, old)
    elif origins[0] in _UNSTATED and old.preprocess.channels == new.preprocess.channels:
        old = _take_pixels(old, new)
    if None in (new.image.height, new.image.width) and None not in (old.image.height, old.image.width):
        new = replace(new, preprocess=replace(new.preprocess, height=old.preprocess.height, width=old.preprocess.width))
    return old, new


def _take_pixels(model: Model, donor: Model) -> Model:
    given = donor.preprocess
    step, zero = _find_step(donor) if _find_step(model) == _PLAIN else _PLAIN
    means, deviations = np.broadcast_arrays(given.mean, given.std)
    mean = tuple((means + zero * deviations).tolist())
    std = tuple((deviations / step).tolist())
    return replace(model, preprocess=replace(model.preprocess, color=given.color, scale=given.scale, mean=mean, std=std))


def _find_step(model: Model) -> tuple[float, float]:
    """The step between two integers of a model's image and the integer that stands for 0, where its first node makes numbers of them."""
    graph, name, node = (model.file_network or model.network).graph, model.image.name, None
    for _ in range(MOST_STEPS):
        readers = [graph.nodes[i] for i in graph.consumers.get(name, [])]
        if len(readers) != 1 or readers[0].op_type not in _TURNING:
            node = next((one for one in readers if one.op_type == "DequantizeLinear" and len(readers) == 1), None)
            break
        name = readers[0].output[0]
    scales = [] if node is None else [graph.constant(name) for name in node.input[1:] if name]
    numbers = [float(one.reshape(-1)[0]) for one in scales if one is not None and one.size == 1]
    if not numbers or len(numbers) < len(scales) or not numbers[0] > 0:
        return _PLAIN
    return numbers[0], numbers[1] if len(numbers) > 1 else 0.0


def _make_feeds(opened: OpenedModel, model: Model, images: NDArray[np.uint8]) -> tuple[Feed, ...]:
    """The inputs of the file's graph for each image."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in opened.network.graph.inputs}
    name = model.image.name
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kinds[name]))
    others = _find_other_inputs(opened, model, name)
    count = model.images_at_once
    rows = (fill_group(images[i : i + 1], count) for i in range(len(images)))
    return tuple({**others, name: np.ascontiguousarray(model.file_input(row).astype(dtype))} for row in rows)


def _find_other_inputs(opened: OpenedModel, model: Model, image: str) -> dict[str, NDArray[Any]]:
    """Values of inputs besides the image: those stored when the model was opened, or random ones."""
    names = [value.name for value in opened.network.graph.inputs if value.name != image]
    stored = {name: value for name in names if (value := model.graph.constant(name)) is not None}
    if len(stored) == len(names):
        return {name: np.asarray(value) for name, value in stored.items()}
    shapes = {v.name: tuple(sizes) for v in opened.network.graph.inputs if (sizes := dims(v)) is not None}
    random = next(iter(generate_feeds(opened.network.graph, shapes)))
    return {name: np.asarray(stored.get(name, random[name])) for name in names}


def _make_random_feeds(old: OpenedModel, new: OpenedModel, count: int) -> list[tuple[Feed, ...]]:
    """The same random values for the inputs of both graphs, which are matched by their places."""
    graphs = [one.network.graph for one in (old, new)]
    shapes = {v.name: tuple(sizes) for v in graphs[0].inputs if (sizes := dims(v)) is not None}
    for feed in generate_feeds(graphs[0], shapes):
        if _runs(old, feed):
            rows = [{name: _redraw(value, seed) for name, value in feed.items()} for seed in range(count)]
            return [tuple(rows), tuple(_rename(row, old, new) for row in rows)]
    raise ModelError(
        f"{old.located.path} takes no image, and can't be run with random values of its inputs. Give its inputs fixed sizes."
    )


def _runs(one: OpenedModel, feed: Feed) -> bool:
    small = all(isinstance(value, np.ndarray) and value.size <= _LONGEST for value in feed.values())
    try:
        return small and bool(Runner(one.network)(feed, MOST_SECONDS))
    except Exception:  # ONNX Runtime's errors share no base class; other sizes may do
        return False


def _redraw(value: NDArray[Any], seed: int) -> NDArray[Any]:
    """Values of the same kind for another image."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(value.shape) if value.dtype.kind == "f" else rng.integers(0, 2, value.shape)
    return drawn.astype(value.dtype)


def _rename(row: Feed, old: OpenedModel, new: OpenedModel) -> Feed:
    """The values of a feed by the names of the new graph's inputs, in their shapes and types."""
    mine, theirs = ([value.name for value in one.network.graph.inputs] for one in (old, new))
    if len(mine) != len(theirs):
        raise ModelError(
            f"{new.located.path} has {len(theirs)} inputs, but {old.located.path} has {len(mine)}. Give models with the same inputs."
        )
    given = theirs if set(mine) == set(theirs) else mine
    for value, name in zip(new.network.graph.inputs, given, strict=True):
        sizes = dims(value)
        if sizes is not None and not _fit(sizes, row[name].shape):
            raise ModelError(
                f"The input {value.name} of {new.located.path} is {_write(sizes)}, but that of {old.located.path} is "
                f"{_write(row[name].shape)}. Give models with the same inputs."
            )
    kinds = {value.name: value.type.tensor_type.elem_type for value in new.network.graph.inputs}
    return {
        to: row[name].astype(onnx.helper.tensor_dtype_to_np_dtype(kinds[to])) for to, name in zip(theirs, given, strict=True)
    }


def _fit(sizes: Sequence[int | None], shape: tuple[int, ...]) -> bool:
    """Whether an input of these sizes, None where open, takes values of this shape."""
    return len(sizes) == len(shape) and all(size in (None, n) for size, n in zip(sizes, shape, strict=True))


def _write(sizes: Sequence[int | None]) -> str:
    return f"[{', '.join('?' if size is None else str(size) for size in sizes)}]"
