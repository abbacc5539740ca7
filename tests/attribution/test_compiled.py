"""`--compile`: one graph without breaks, whose maps are those of the graph that is not compiled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from onnxspace.attribution import compiled_graph
from onnxspace.attribution.explainer import make_explainer
from onnxspace.attribution.maps import VERIFIED_IMAGES, engines_for
from onnxspace.inputs.execution import Compute, Execution
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
    monkeypatch.setattr(compiled_graph, "COMPILER", {"backend": "aot_eager", "fullgraph": True})
    found = []
    for compiled in (False, True):
        engine = make_explainer(model, converted, Setup(probes, method), torch.device("cpu"), Compute("cpu", compiled=compiled))
        found.append(engine.compute_maps(engine.prepare_batch(probes.images)).maps)
        assert engine.remarks == ()
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6 * float(found[0].abs().max()))


def refuse(graph: torch.fx.GraphModule, _inputs: object) -> object:
    raise RuntimeError("Failed to find C++ compiler.\nmore")


def test_a_network_that_cannot_be_compiled_is_computed_as_it_is_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model, setup = open_model(MODELS / "shapes-torch.onnx"), Setup(Probes.generate(5, size=64))
    converted = convert(model, setup.probes.images[:VERIFIED_IMAGES])
    monkeypatch.setattr(compiled_graph, "COMPILER", {"backend": refuse})
    plain, compiled = (
        engines_for(model, converted, setup, Execution.on(Compute("cpu", compiled=one), 2)) for one in (False, True)
    )
    maps = [np.concatenate([found.maps for found in engines.maps()]) for engines in (plain, compiled)]
    assert maps[0].tobytes() == maps[1].tobytes()
    assert plain.remarks(()) == ()
    (remark,) = compiled.remarks(())
    assert remark.startswith("its network is not compiled: Torch's compiler fails (")
    assert "Failed to find C++ compiler" in remark


def test_memory_that_runs_out_is_no_fault_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is halved, as without a compiler."""
    graph = compiled_graph.CompiledGraph(torch.fx.symbolic_trace(torch.nn.Identity()))

    def exhaust(_values: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(graph, "_compiled", exhaust)
    with pytest.raises(torch.OutOfMemoryError):
        graph(torch.ones(1))
    assert graph.remark == ""


def test_an_error_of_the_graph_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(7)

    graph = compiled_graph.CompiledGraph(torch.fx.symbolic_trace(Broken()))
    with pytest.raises(RuntimeError, match="shape '\\[7\\]' is invalid"):
        graph(torch.ones(3))
    assert graph.remark == ""
