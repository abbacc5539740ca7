"""Models of one node for the tests of operators, compared with ONNX Runtime and by their gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper

import onnxspace.torchgraph.encoder_graph  # noqa: F401
from onnxspace.model import runtime
from onnxspace.torchgraph.build import build

Values = Mapping[str, NDArray[Any] | None]


MICROSOFT = "com.microsoft"


few = settings(max_examples=15, deadline=None, derandomize=True)


def single(
    operator: str,
    values: Values,
    *,
    opset: int,
    outputs: int | Sequence[str] = 1,
    domain: str = "",
    stored: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node whose inputs are `values`; those named in `stored` are initialisers, None is left out."""
    names = [f"y{index}" for index in range(outputs)] if isinstance(outputs, int) else list(outputs)
    inputs = [name if value is not None else "" for name, value in values.items()]
    while not inputs[-1]:
        inputs.pop()
    node = helper.make_node(operator, inputs, names, domain=domain, **attributes)
    given_ = {name: value for name, value in values.items() if value is not None}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given_.items()
        if name not in stored.split()
    ]
    weights = [numpy_helper.from_array(given_[name], name) for name in stored.split()]
    made = [helper.make_empty_tensor_value_info(name) for name in names if name]
    graph = helper.make_graph([node], "test", infos, made, weights)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1), helper.make_opsetid("ai.onnx.preview", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def as_tuple(made: Any) -> tuple[torch.Tensor, ...]:
    return tuple(made) if isinstance(made, (tuple, list)) else (made,)


def check(operator: str, values: Values, *, slopes: str = "", reference: bool = False, **settings_: Any) -> None:
    """The converted node equals ONNX Runtime's, or the standard's reference; finite differences confirm its gradient."""
    model = single(operator, values, **settings_)
    feeds = {info.name: values[info.name] for info in model.graph.input}
    expected = (runtime.evaluate if reference else runtime.run)(model, feeds)  # type: ignore[arg-type]
    graph = build(model, "test")
    found = as_tuple(graph(*[torch.from_numpy(np.asarray(value)) for value in feeds.values()]))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=2e-5)
    if slopes:
        _confirm_slopes(graph, feeds, slopes.split())


def _confirm_slopes(graph: torch.nn.Module, feeds: Mapping[str, Any], slopes: Sequence[str]) -> None:
    tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in feeds.items()}
    tensors = {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
    variables = [tensors[name].requires_grad_() for name in slopes]
    graph = graph.double()

    def function(*changed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = as_tuple(graph(*{**tensors, **dict(zip(slopes, changed, strict=True))}.values()))
        return tuple(value for value in made if value.is_floating_point())

    assert torch.autograd.gradcheck(function, variables, fast_mode=True)


def random(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


seeds = st.integers(0, 2**16)


def _mask(kind: str, shape: Sequence[int], seed: int) -> NDArray[Any] | None:
    if kind == "none":
        return None
    made = random(seed, *shape)
    if kind == "bool":
        made[..., 0] = 1  # ONNX Runtime before the rule of empty rows gives them the mean
        return made > -0.3
    return made


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


_COUNT = {"RNN": 1, "GRU": 2, "LSTM": 3}


SMOOTH = (
    "Tanh",
    "Sigmoid",
    "Softsign",
    "Softplus",
    "Affine",
    "ScaledTanh",
    "Elu",
    "HardSigmoid",
    "LeakyRelu",
    "ThresholdedRelu",
    "Relu",
)


def _recurrent(operator: str, directions: int, seed: int, *, biased: bool, lengths: bool, started: bool) -> dict[str, Any]:
    steps, batch, size, hidden, gates = 4, 3, 3, 2, GATES[operator]
    values: dict[str, Any] = {
        "x": random(seed, steps, batch, size),
        "w": random(seed + 1, directions, gates * hidden, size) / 2,
    }
    values["r"] = random(seed + 2, directions, gates * hidden, hidden) / 2
    values["b"] = random(seed + 3, directions, 2 * gates * hidden) / 2 if biased else None
    values["n"] = np.random.default_rng(seed).integers(0, steps + 1, batch).astype(np.int32) if lengths else None
    if lengths:
        values["n"][0] = steps
    values["h"] = random(seed + 4, directions, batch, hidden) if started else None
    return values
