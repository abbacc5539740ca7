"""What is usual for the pixels of a network, by the exporter of its file and the kind of its input: the guess where nothing tells more."""

from __future__ import annotations

from dataclasses import dataclass

from onnxspace.inputs.pixel_presets import DEFAULT_PRESET
from onnxspace.model.graph import Graph
from onnxspace.model.image_input import ImageInput, dims

_DIGITS = (28, 28)


@dataclass(frozen=True)
class Habit:
    """A usual preset, and for whom, in words. `firm` says that hints by first layers don't count; `departure` is from which they do."""

    preset: str = DEFAULT_PRESET
    reason: str = ""
    firm: bool = False
    departure: float | None = None


def find_habit(graph: Graph, image: ImageInput, producer: str) -> Habit:
    """What is usual for such a network; `producer` is the exporter as the file names it.

    PyTorch's classifiers of three channels are mostly trained with ImageNet's mean and deviation, its classifiers of 28 × 28 grey pixels
    with MNIST's, on which hints that are measured on photos say nothing. Caffe's take pixels minus the means; their layers have no
    normalisation that was merged, so that there is no hint either.
    """
    exporter = producer.lower()
    if "caffe" in exporter and image.channels == 3:
        return Habit("imagenet-bgr-mean", "networks of Caffe mostly take it", firm=True)
    if not exporter.startswith("pytorch") or not _is_classifier(graph):
        return Habit()
    if image.channels == 1 and (image.height, image.width) == _DIGITS:
        return Habit("mnist", "PyTorch's classifiers of 28×28 grey pixels mostly take it", firm=True)
    if image.channels == 3:
        return Habit("imagenet", "PyTorch's classifiers mostly take it", departure=0.02)
    return Habit()


def _is_classifier(graph: Graph) -> bool:
    """Whether the only output is a number per class."""
    outputs = graph.proto.graph.output
    shape = dims(outputs[0]) if len(outputs) == 1 else None
    return shape is not None and len(shape) == 2 and shape[1] != 1
