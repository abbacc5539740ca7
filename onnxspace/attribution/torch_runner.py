"""Features from Torch: a converted graph on a device, run as ONNX Runtime runs the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.devices import configure_torch
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.attribution.maps import VERIFIED_IMAGES
from onnxspace.errors import ModelError, quote_message
from onnxspace.inputs.execution import Compute
from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.verify import outputs_of


class TorchRunner:
    """The graph of `model` up to its encoder, verified against ONNX Runtime, on a device; called as `runtime.Runner` is.

    It computes in float32 whatever the precision of maps is, so that features agree with those of ONNX Runtime as the graph does.
    """

    def __init__(
        self, model: Model, encoder: Encoder, images: NDArray[np.uint8], compute: Compute, device: torch.device
    ) -> None:
        """Convert the model and verify it on the first of `images`, uint8 [images, size, size, 3]. Raises ModelError as `convert`."""
        converted = convert(model, images[:VERIFIED_IMAGES], encoder)
        self.path, self.input, self.device = model.path, model.image.name, device
        self.compute = replace(compute, precision="float32")
        self.graph = converted.graph if device.type == "cpu" else copy_graph(converted.graph).to(device)

    def __call__(self, feeds: Mapping[str, NDArray[Any]], /) -> list[NDArray[Any]]:
        """Return the outputs for the images of `feeds`, float32. Raises ModelError where the graph can't be run."""
        values = torch.from_numpy(feeds[self.input].astype(np.float32))
        try:
            with configure_torch(self.compute), torch.no_grad():
                found = outputs_of(self.graph, values.to(self.device))
                return [np.asarray(output.float().cpu().numpy()) for output in found]
        except RuntimeError as error:
            raise ModelError(
                f"{self.path}: its features or outputs can't be computed by Torch on a GPU ({quote_message(error)}). Use --device cpu."
            ) from error
