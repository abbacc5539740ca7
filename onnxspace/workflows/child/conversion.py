"""Conversions of models ahead of their turn: the next model is converted and verified while another process explains one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.maps import VERIFIED_IMAGES
from onnxspace.attribution.subject import find_subject
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert
from onnxspace.workflows.child.open import PreparedModel


@dataclass(frozen=True, eq=False)
class _Converted:
    """A graph, with all that it was made of."""

    model: PreparedModel
    encoder: Encoder
    images: NDArray[np.uint8]
    graph: EncoderGraph

    def is_of(self, model: PreparedModel, encoder: Encoder, images: NDArray[np.uint8]) -> bool:
        return self.model is model and self.encoder == encoder and np.array_equal(self.images, images)


#: At most one: it takes as much memory as the model.
_ready: list[_Converted] = []


def convert_ahead(model: PreparedModel, setup: Setup, execution: Execution) -> bool:
    """Convert a model that is explained next, and keep the graph for `convert_once`; returns whether it did.

    It does not for a GPU, whose memory two processes would have to share. Raises ModelError as `convert`.
    """
    _ready.clear()
    if list_devices(resolve_compute(execution.compute))[0].type != "cpu":
        return False
    subject, images = find_subject(model.model, setup, model.encoder), setup.probes.images[:VERIFIED_IMAGES]
    _ready.append(_Converted(model, subject.encoder, images, convert(model.model, images, subject.encoder)))
    return True


def convert_once(model: PreparedModel, setup: Setup, encoder: Encoder) -> EncoderGraph:
    """Return the graph of a model at `encoder`, the one that was converted ahead if there is one. Raises ModelError."""
    images = setup.probes.images[:VERIFIED_IMAGES]
    found = [one.graph for one in _ready if one.is_of(model, encoder, images)]
    _ready.clear()
    return found[0] if found else convert(model.model, images, encoder)
