"""What of a network is run for measuring: its encoder, and its classes where there are some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.cpu_tuning import tune_graph
from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.quantity import Quantity, follow_features, follow_probability
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.attribution.grouped_forward import GroupedForward
from onnxspace.errors import ConfigError, OnnxspaceError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.faithfulness import Followed
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import find_class_output
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network that is run for measuring, and the quantities of its outputs; `warnings` are sentences without its name."""

    graph: EncoderGraph
    quantity: Quantity
    warnings: tuple[str, ...] = ()


def choose_network(model: Model, converted: EncoderGraph, followed: Followed, images: NDArray[np.uint8]) -> MeasuredNetwork:
    """Choose what curves of `model` follow, and convert what they need beside the encoder, `converted`, verified on `images`.

    Raises ConfigError where `followed` is a probability that the network does not have, and ModelError where its output can't be
    converted; for `auto` the curves then follow the features.
    """
    encoder = converted.encoder
    deviating = [name in encoder.deviations for name in encoder.tensors]
    features = MeasuredNetwork(converted, follow_features(deviating))
    classes = None if followed == "features" else find_class_output(model)
    if classes is None:
        if followed == "probability":
            raise ConfigError(f"{model.path} has no single output with a number per class. Follow its features instead.")
        return features
    both = Encoder((*_without(encoder.tensors, classes.tensors), *classes.tensors), classes.why)
    if len(both.tensors) == len(encoder.tensors):  # the encoder is the output
        return (
            MeasuredNetwork(converted, follow_probability(deviating))
            if encoder.tensors[-1] == classes.tensors[-1]
            else features
        )
    try:
        return MeasuredNetwork(convert(model, images, both), follow_probability(deviating))
    except OnnxspaceError as error:
        if followed == "probability":
            raise
        return MeasuredNetwork(
            converted, features.quantity, (f"curves follow its features, since its classes can't be converted: {error}",)
        )


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name not in others]


def make_forward(model: Model, converted: EncoderGraph, execution: Execution, size: int) -> ForwardPass:
    """Prepare a converted graph of `model` for passes of `size` images without gradients, on the first of the devices."""
    compute = resolve_compute(execution.compute)
    device = list_devices(compute)[0]
    graph = tune_graph(converted.graph)
    ready = graph if device.type == "cpu" else copy_graph(graph).to(device)
    forward = ready if model.group is None else GroupedForward(ready, model.group, converted.image_axes)
    least = model.images_at_once
    return ForwardPass(forward, torch.device(device), compute, max(1, size // least) * least, model.path, least)
