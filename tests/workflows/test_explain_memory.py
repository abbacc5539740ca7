"""Weights of a model are in memory once while it is explained."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.attribution import maps, memory_bound
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.execution import Execution
from onnxspace.inputs.methods import Method
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph import encoder_graph
from onnxspace.workflows.child import explain
from onnxspace.workflows.child.explain import ModelExplanation
from tests.helpers.nets import Net, save

METHODS: list[Method] = ["elrp", "saliency"]


@pytest.mark.parametrize("count", [1, 2])
def test_weights_are_held_once_while_the_last_maps_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    net = Net(("N", 3, 32, 32))
    x = net.add("Relu", net.conv("image", 3, 32, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 32, 40, pads=[1] * 4))
    save(net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 40, 4)]), tmp_path / "net.onnx")
    stored: list[weakref.ref[NDArray[Any]]] = []
    held: list[bool] = []
    convert, fit = encoder_graph.convert, memory_bound.fit_memory

    def watch(model: Model, *given: Any) -> Any:
        stored.extend(weakref.ref(weights) for weights in model.network.weights.values())
        return convert(model, *given)

    def look(*given: Any) -> Any:
        gc.collect()
        held.append(any(weights() is not None for weights in stored))
        return fit(*given)

    monkeypatch.setattr(explain, "convert", watch)
    monkeypatch.setattr(maps, "fit_memory", look)
    setups = [Setup(Probes.generate(1, 32), method) for method in METHODS[:count]]
    run = ModelExplanation(setups, Execution.on("cpu"), tmp_path, lambda images: None)
    found = run.explain(open_model(tmp_path / "net.onnx", options=ModelOptions(pixels="unit")))
    assert len(stored) == 1
    assert held == [True, False][2 - count :]
    assert all(np.load(tmp_path / name).any() for name in found["files"])
