"""`--compile`: one graph without breaks, whose maps are those of the graph that is not compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from onnxspace.attribution import explainer
from onnxspace.attribution.explainer import make_explainer
from onnxspace.attribution.maps import VERIFIED_IMAGES
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


#: Networks of each exporter and kind. Of the gradient alone, which has no rules to trace, the main suite has a network of
#: convolutions and a transformer.
NETWORKS = ("shapes-torch", "shapes-keras", "colour-tflite", "light-torch", "depth-torch", "minitaskonomy/depth-vit")
PLAIN = ("shapes-torch", "minitaskonomy/depth-vit")
CASES = [
    *((name, "elrp") for name in NETWORKS),
    *((name, "saliency") for name in PLAIN),
    *(pytest.param(name, "saliency", marks=pytest.mark.exhaustive) for name in NETWORKS if name not in PLAIN),
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_networks_are_compiled_as_one_graph(name: str, method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """`aot_eager` traces the forward and the backward pass as `inductor` does, without a compiler of C++; `fullgraph` allows no break."""
    model, probes = open_model(MODELS / f"{name}.onnx"), Probes.generate(3, size=64)
    converted = convert(model, probes.images[:VERIFIED_IMAGES])
    monkeypatch.setattr(explainer, "COMPILER", {"backend": "aot_eager", "fullgraph": True})
    found = []
    for compiled in (False, True):
        engine = make_explainer(model, converted, Setup(probes, method), torch.device("cpu"), Compute("cpu", compiled=compiled))
        found.append(engine.compute_maps(engine.prepare_batch(probes.images)).maps)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6 * float(found[0].abs().max()))
