"""From the inputs of a file to those that all other code knows: one batch of images with four axes, of any size or of one image."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.input_values import stated_inputs
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.arrangement import Arrangement, arrangement_of, attach
from onnxspace.model.channels import Channels
from onnxspace.model.fixed_batch import find_file_group, reduce_batch
from onnxspace.model.image_groups import ImageGroup
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network
from onnxspace.model.open_sizes import Size, choose_usual, find_size
from onnxspace.model.other_inputs import bind_inputs

#: Sides of the example images, in pixels, by which graphs are tried and compared.
_EXAMPLE = 64


@dataclass(frozen=True)
class FittedInputs:
    """A graph whose only input is a batch of images with four axes: `network`, its `image` input and its `preprocess`.

    `arrangement` says how the file's input holds images, None where it is such a batch; `group` is that of a graph that takes N images
    at a time and can't be opened to one; the other fields are as in `Model`.
    """

    network: Network
    image: ImageInput
    preprocess: Preprocess
    arrangement: Arrangement | None
    assumed: tuple[str, ...]
    stated_inputs: str
    group: ImageGroup | None = None


def fit_inputs(
    network: Network, image: ImageInput, preprocess: Preprocess, channels: Channels, options: ModelOptions, path: str
) -> FittedInputs:
    """Fit the graph of the file `path`: values of other inputs are stored in it, open sizes tried, and its image input rearranged.

    `channels` are those of `image`, `options` the configured ones. The network is returned as it is where it takes such a batch
    already. Raises ConfigError for values of other inputs that don't fit, ModelError for a graph of a fixed batch that can't be run.
    """
    preprocess, sized = _try_sizes(network, image, preprocess, channels, options)
    bound, assumed, digest = bind_inputs(network, image.name, preprocess, stated_inputs(options.inputs), path)
    arrangement = arrangement_of(image, preprocess, channels.frames)
    bound, group = _open_batch(bound, image, arrangement, preprocess, path)
    batch = group.size if group is not None else None if arrangement.batch is None else 1
    attached, fed = attach(bound, replace(image, batch=batch), arrangement, _opset_of(bound))
    plain = None if arrangement.is_plain else arrangement
    grouped = () if group is None else (group.words,)
    return FittedInputs(attached, fed, preprocess, plain, (*sized, *assumed, *grouped), digest, group)


def _open_batch(
    network: Network, image: ImageInput, arrangement: Arrangement, preprocess: Preprocess, path: str
) -> tuple[Network, ImageGroup | None]:
    """The graph for one image where its batch is fixed at N > 1; where it can't be opened, the same graph, which takes N images."""
    if arrangement.batch in (1, None):
        return network, None
    images = _make_example(arrangement, image, preprocess, arrangement.batch + 1)
    one = reduce_batch(network, image.name, images[1:], path)
    return (one, None) if one is not None else (network, find_file_group(network, image.name, images, path))


def _try_sizes(
    network: Network, image: ImageInput, preprocess: Preprocess, channels: Channels, options: ModelOptions
) -> tuple[Preprocess, tuple[str, ...]]:
    """The preprocessing with the first size at which the graph can be run, where neither the file nor the user says it."""
    if options.size is not None or (image.height is not None and image.width is not None):
        return preprocess, ()

    def feed(size: Size) -> NDArray[np.generic]:
        sized = replace(preprocess, height=size[0], width=size[1])
        return _make_example(arrangement_of(image, sized, channels.frames), image, sized)

    plain = preprocess.height, preprocess.width
    usual = choose_usual(network.graph, image, plain)
    height, width = find_size(network, image, usual, feed)
    if (height, width) == plain == usual:
        return preprocess, ()
    return replace(preprocess, height=height, width=width), (_explain_size((height, width), usual),)


def _explain_size(found: Size, usual: Size) -> str:
    words = f"size {found[0]}×{found[1]}"
    if found == usual:
        return f"{words}, a line of text, because its width is open and its strides of rows and columns differ"
    return f"{words}, because it can't be run with {usual[0]}×{usual[1]}"


def _make_example(
    arrangement: Arrangement, image: ImageInput, preprocess: Preprocess, images: int | None = None
) -> NDArray[np.generic]:
    """The file's input for a batch of different random images, of its own size or of so many `images`."""
    bands = max(3, *(band + 1 for band in getattr(preprocess, "bands", ())), 3)
    pixels = np.random.default_rng(0).integers(0, 256, (images or arrangement.batch or 1, _EXAMPLE, _EXAMPLE, bands), np.uint8)
    kind = onnx.helper.tensor_dtype_to_np_dtype(image.elem_type)
    return arrangement.arrange(preprocess(pixels)).astype(kind)


def _opset_of(network: Network) -> int:
    return max((entry.version for entry in network.proto.opset_import if entry.domain in ("", "ai.onnx")), default=0)
