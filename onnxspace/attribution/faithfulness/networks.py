"""What of a network is run for measuring: its encoder, its classes where there are some, or what a target names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.answers import View
from onnxspace.attribution.cpu_tuning import tune_graph
from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.faithfulness.aimed import follow_aim
from onnxspace.attribution.faithfulness.forward_pass import ForwardPass
from onnxspace.attribution.faithfulness.quantity import (
    Quantity,
    follow_explained,
    follow_features,
    follow_probability,
)
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.attribution.grouped_forward import GroupedForward
from onnxspace.errors import ConfigError, OnnxspaceError
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.faithfulness import Followed
from onnxspace.inputs.probes import Probes
from onnxspace.model.aims import Aim
from onnxspace.model.encoder import Encoder
from onnxspace.model.features import find_class_output
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph

#: Converts a model at an encoder, once for all who need it.
Convert = Callable[[Encoder], EncoderGraph]


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network that is run for measuring, and the quantities of its outputs; `warnings` are sentences without its name."""

    graph: EncoderGraph
    quantity: Quantity
    warnings: tuple[str, ...] = ()


def choose_network(model: Model, encoder: Encoder, followed: Followed, convert: Convert) -> MeasuredNetwork:
    """Choose what curves of maps of the `encoder` follow, and convert what they need beside it.

    Raises ConfigError where `followed` is a probability that the network does not have, and ModelError where its output can't be
    converted; for `auto` the curves then follow the features.
    """
    deviating = [name in encoder.deviations for name in encoder.tensors]
    if followed == "value":
        return MeasuredNetwork(convert(encoder), follow_explained(deviating))
    features = follow_features(deviating)
    classes = None if followed == "features" else find_class_output(model)
    if classes is None:
        if followed == "probability":
            raise ConfigError(f"{model.path} has no single output with a number per class. Follow its features instead.")
        return MeasuredNetwork(convert(encoder), features)
    both = Encoder((*_without(encoder.tensors, classes.tensors), *classes.tensors), classes.why)
    if len(both.tensors) == len(encoder.tensors):  # the encoder is the output
        last = encoder.tensors[-1] == classes.tensors[-1]
        return MeasuredNetwork(convert(encoder), follow_probability(deviating) if last else features)
    try:
        return MeasuredNetwork(convert(both), follow_probability(deviating))
    except OnnxspaceError as error:
        if followed == "probability":
            raise
        why = f"curves follow its features, since its classes can't be converted: {error}"
        return MeasuredNetwork(convert(encoder), features, (why,))


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    return [name for name in names if name not in others]


def aim_network(
    model: Model, aim: Aim, followed: Followed, convert: Convert, probes: Probes, execution: Execution
) -> MeasuredNetwork:
    """Convert what a target needs, and choose what curves of its maps follow.

    Raises ConfigError where `followed` is a probability that the target does not have, ModelError.
    """
    graph = convert(Encoder(aim.tensors, aim.target.words))
    raw = make_forward(model, graph, execution, 1).run(to_input(model, probes.images[:1]))
    return MeasuredNetwork(graph, follow_aim(aim, view_probes(model, probes, execution), followed, raw))


def view_probes(model: Model, probes: Probes, execution: Execution) -> View:
    """How `model` sees the probe images, on the device on which it is run."""
    device = list_devices(resolve_compute(execution.compute))[0]
    rows, columns = (torch.from_numpy(m).to(device, torch.float32) for m in model.preprocess.inverse(probes.size))
    return View(model.path, rows, columns)


def to_input(model: Model, images: NDArray[np.uint8]) -> torch.Tensor:
    """The network's input for images, uint8 [images, size, size, bands]."""
    return torch.from_numpy(model.preprocess(images))


def make_forward(model: Model, converted: EncoderGraph, execution: Execution, size: int) -> ForwardPass:
    """Prepare a converted graph of `model` for passes of `size` images without gradients, on the first of the devices."""
    compute = resolve_compute(execution.compute)
    device = list_devices(compute)[0]
    graph = tune_graph(converted.graph)
    ready = graph if device.type == "cpu" else copy_graph(graph).to(device)
    forward = ready if model.group is None else GroupedForward(ready, model.group, converted.image_axes)
    least = model.images_at_once
    return ForwardPass(forward, torch.device(device), compute, max(1, size // least) * least, model.path, least)
