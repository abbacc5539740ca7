"""Whether the weights of a model are still in memory while its maps are computed: for a process that has done nothing else."""

from __future__ import annotations

import gc
import sys
import weakref
from pathlib import Path
from typing import Any

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

METHODS: list[Method] = ["elrp", "saliency"]


def list_held(file: Path, count: int) -> list[bool]:
    """Explain a model of one stored weight by `count` methods, into its folder; whether the weight is there before each one's maps."""
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

    setups = [Setup(Probes.generate(1, 32), method) for method in METHODS[:count]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "convert", watch)
        patch.setattr(maps, "fit_memory", look)
        ModelExplanation(setups, Execution.on("cpu"), file.parent, lambda images: None).explain(
            open_model(file, options=ModelOptions(pixels="unit"))
        )
    assert len(stored) == 1
    return held


if __name__ == "__main__":
    print(list_held(Path(sys.argv[1]), int(sys.argv[2])))
