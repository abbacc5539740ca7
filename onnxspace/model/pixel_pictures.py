"""Networks whose output is the picture that they were given, such as those of super-resolution: the range in which it comes back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.preprocess import Preprocess
from onnxspace.model.image_input import ImageInput
from onnxspace.model.network import Network
from onnxspace.model.pixel_images import draw_pixels, feed_preset, list_candidates
from onnxspace.model.pixel_parts import ImageNetwork, Tensor, plan_work
from onnxspace.model.pixel_statistics import TimedRunner, run_images

_IMAGES, _SIDE = 2, 64
#: The largest distance of an output that repeats the input, and by how much less it must be than for the next candidate.
REPEATED, RATIO = 0.05, 0.5
_MOST_OUTPUTS, _LARGEST_FACTOR = 4, 8


def score_pictures(model: ImageNetwork) -> dict[str, float]:
    """How far the output is from the input under each candidate: 1 − concordance, 0 where they are equal; empty without such an output.

    The output has the input's channels and its size, or a multiple of it, over which it is averaged. Lin's concordance is the
    correlation, lessened where mean or variance differ. Raises as `pixel_statistics.measure_channels`.
    """
    network, model = model.network, _shrink(model)
    names = [name for name in network.graph.outputs if network.graph.producer.get(name) is not None]
    if not 0 < len(names) <= _MOST_OUTPUTS:
        return {}
    part, images = plan_work(model, [Tensor(names[0])])
    run, pixels = TimedRunner(part), draw_pixels(model.preprocess, min(images, _IMAGES))
    scores: dict[str, float] = {}
    for candidate in list_candidates(model.preprocess):
        values = feed_preset(model.preprocess, candidate).values(pixels)
        outputs = [next(iter(found.values()))[:1] for found in run_images(model, run, values)]
        picture = _fit(np.concatenate(outputs).astype(np.float64), values, model.preprocess.channels)
        if picture is None:
            return {}
        scores[candidate] = 1 - _concordance(picture, values.astype(np.float64))
    return scores


@dataclass(frozen=True)
class _SmallNetwork:
    """A network that is given small images."""

    network: Network
    image: ImageInput
    preprocess: Preprocess


def _shrink(model: ImageNetwork) -> ImageNetwork:
    """The same network with small images where it takes any size: pictures are computed at every place alike."""
    if (model.image.height, model.image.width) != (None, None):
        return model
    return _SmallNetwork(model.network, model.image, replace(model.preprocess, height=_SIDE, width=_SIDE))


def _fit(output: NDArray[Any], values: NDArray[Any], channels: int) -> NDArray[np.float64] | None:
    """The output in the layout and size of the input, averaged over squares where it is larger; None for any other."""
    if output.ndim != 4:
        return None
    axis = 1 if values.shape[1] == channels and values.shape[3] != channels else 3
    own = next((a for a in (axis, 4 - axis) if output.shape[a] == channels), None)
    if own is None:
        return None
    moved, given = np.moveaxis(output, own, axis), [n for a, n in enumerate(values.shape) if a not in (0, axis)]
    sides = [n for a, n in enumerate(moved.shape) if a not in (0, axis)]
    factor = sides[0] // given[0]
    if not 1 <= factor <= _LARGEST_FACTOR or sides != [factor * n for n in given]:
        return None
    first = 2 if axis == 1 else 1
    split = moved.reshape(*moved.shape[:first], given[0], factor, given[1], factor, *moved.shape[first + 2 :])
    fitted: NDArray[np.float64] = split.mean(axis=(first + 1, first + 3))
    return fitted


def _concordance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Lin's coefficient: 2 cov / (var a + var b + (mean a − mean b)²); 0 where values are not finite."""
    spread = a.var() + b.var() + (a.mean() - b.mean()) ** 2
    return float(2 * ((a - a.mean()) * (b - b.mean())).mean() / spread) if np.isfinite(spread) and spread > 0 else 0.0
