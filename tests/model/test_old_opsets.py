"""Graphs of opsets 1 to 6: the operators' own converters against ONNX Runtime on the newer form, and both against formulas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnxspace as ox
from onnxspace.errors import ModelError, UnsupportedOperatorError
from onnxspace.model import runtime
from onnxspace.model.model import open_model
from onnxspace.model.network import Network
from onnxspace.model.old_opsets import raise_opset
from onnxspace.model.shapes import infer_shapes
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.verify import compute_reference
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes
from tests.helpers.single import check, random, single

Array = NDArray[Any]
X = random(0, 2, 3, 4, 5)
POSITIVE = np.abs(X) + np.float32(0.1)
STATISTICS = {"s": random(1, 3), "b": random(2, 3), "m": random(3, 3), "v": np.abs(random(4, 3)) + np.float32(0.1)}


def column(values: Array) -> Array:
    return values.reshape(-1, 1, 1)


def normalised(x: Array, s: Array, b: Array, m: Array, v: Array) -> Array:
    made: Array = (x - column(m)) / np.sqrt(column(v) + 1e-5) * column(s) + column(b)
    return made


def by_torch(function: Callable[..., torch.Tensor], **settings: Any) -> Callable[..., Array]:
    return lambda *values: function(*map(torch.from_numpy, values), **settings).numpy()


_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Greater": np.greater, "Less": np.less,
}  # fmt: skip
_LOGICAL: dict[str, Callable[[Array, Array], Array]] = {"And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor}
_ONE = ("Abs", "Neg", "Exp", "Floor", "Ceil", "Tanh", "Relu", "Sigmoid")
_IN_PLACE = {"consumed_inputs": [0]}
Case = tuple[str, int, dict[str, Array], dict[str, Any], Callable[..., Array]]


def cases() -> Iterator[Case]:
    for name, function in _BINARY.items():
        first = POSITIVE if name == "Pow" else X
        for opset in (1, 6):
            values = {"x": first, "y": random(1, 3)}
            yield name, opset, values, {"broadcast": 1, "axis": 1}, lambda a, b, f=function: f(a, column(b))
            yield name, opset, values, {"broadcast": 1, "axis": -3}, lambda a, b, f=function: f(a, column(b))
            yield name, opset, {"x": first, "y": random(1, 4, 5)}, {"broadcast": 1}, function
            yield name, opset, {"x": first, "y": random(1, 2, 3, 4, 5)}, {}, function
    for name, function in _LOGICAL.items():
        values = {"x": X > 0, "y": random(1, 3) > 0}
        yield name, 1, values, {"broadcast": 1, "axis": 1}, lambda a, b, f=function: f(a, column(b))
    kinds = {"x": (X > 0).astype(np.int32), "y": np.array([1, 0, 1], np.int32)}
    yield "Equal", 1, kinds, {"broadcast": 1, "axis": 1}, lambda a, b: a == column(b)
    functions: dict[str, Callable[[Array], Array]] = {
        "Abs": np.abs, "Neg": np.negative, "Exp": np.exp, "Floor": np.floor, "Ceil": np.ceil, "Tanh": np.tanh,
        "Relu": lambda x: np.maximum(x, 0), "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "Selu": lambda x: 1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x)),
    }  # fmt: skip
    for name, single_ in functions.items():
        yield name, 1, {"x": X}, _IN_PLACE, single_
    yield "Selu", 6, {"x": X * 100}, {}, by_torch(F.selu)
    yield "Clip", 1, {"x": X}, {"min": -0.5, "max": 0.5, **_IN_PLACE}, lambda x: np.clip(x, -0.5, 0.5)
    for name, many in (("Sum", np.add.reduce), ("Max", np.maximum.reduce), ("Min", np.minimum.reduce), ("Mean", np.mean)):
        values = {"x": X, "y": random(1, 2, 3, 4, 5), "z": random(2, 2, 3, 4, 5)}
        yield name, 1, values, {}, lambda *parts, f=many: f(np.stack(parts), axis=0)
    for opset, said in ((1, {"consumed_inputs": [0, 0, 0, 1, 1]}), (6, {})):
        for spatial in (0, 1):
            yield "BatchNormalization", opset, {"x": X, **STATISTICS}, {"is_test": 1, "spatial": spatial, **said}, normalised
    yield "Dropout", 1, {"x": X}, {"is_test": 1, "ratio": 0.5, **_IN_PLACE}, lambda x: x
    yield "Dropout", 6, {"x": X}, {"is_test": 1}, lambda x: x
    matrices = {"x": random(0, 2, 3), "w": random(1, 4, 3)}
    for bias in (random(2, 4), random(2, 1), random(2, 2, 4)):
        settings = {"broadcast": int(bias.ndim == 1), "transB": 1, "alpha": 0.5, "beta": 0.7}
        for opset in (1, 6):
            yield "Gemm", opset, {**matrices, "b": bias}, settings, lambda a, w, c: 0.5 * a @ w.T + 0.7 * c
    for opset in (1, 6):
        yield "PRelu", opset, {"x": X, "s": random(1, 3)}, {}, lambda x, s: np.where(x > 0, x, column(s) * x)
        yield "PRelu", opset, {"x": X, "s": random(1, 1)}, {}, lambda x, s: np.where(x > 0, x, s * x)
    yield "Reshape", 1, {"x": X}, {"shape": [0, -1], **_IN_PLACE}, lambda x: x.reshape(2, -1)
    yield "Reshape", 5, {"x": X, "n": np.array([0, -1])}, {}, lambda x, _n: x.reshape(2, -1)
    scaled = {"height_scale": 2.0, "width_scale": 3.0}
    yield "Upsample", 1, {"x": X}, {**scaled, "mode": "nearest"}, lambda x: x.repeat(2, 2).repeat(3, 3)
    yield "Upsample", 1, {"x": X[..., :1]}, {**scaled, "mode": "bilinear"}, by_torch(_interpolate)
    yield "Concat", 1, {"x": X, "y": X}, {}, lambda *parts: np.concatenate(parts, 1)
    yield "Pad", 1, {"x": X}, {"paddings": [0, 0, 1, 0, 0, 0, 1, 2], "value": 0.5}, _padded
    yield "Pad", 2, {"x": X}, {"pads": [0, 0, 1, 0, 0, 0, 1, 2], "value": 0.5}, _padded
    yield "Cast", 1, {"x": X}, {"to": "INT32"}, lambda x: x.astype(np.int32)
    yield "Cast", 6, {"x": X}, {"to": TensorProto.INT32}, lambda x: x.astype(np.int32)
    tiled = {"x": X, "t": np.array([3], np.float32), "a": np.array([2], np.float32)}
    yield "Tile", 1, tiled, {}, lambda x, _t, _a: np.tile(x, (1, 1, 3, 1))
    yield "LpPool", 1, {"x": X}, {"kernel_shape": [4, 5], "p": 2.0}, lambda x: np.sqrt((x * x).sum((2, 3), keepdims=True))
    yield "GlobalLpPool", 1, {"x": X}, {"p": 2.0}, lambda x: np.sqrt((x * x).sum((2, 3), keepdims=True))
    yield (
        "AveragePool",
        1,
        {"x": X},
        {"kernel_shape": [2, 2], "pads": [1] * 4},
        by_torch(F.avg_pool2d, kernel_size=2, stride=1, padding=1, count_include_pad=False),
    )
    yield (
        "InstanceNormalization",
        1,
        {"x": X, "s": random(1, 3), "b": random(2, 3)},
        {},
        by_torch(lambda x, s, b: F.instance_norm(x, weight=s, bias=b)),
    )


def _interpolate(x: torch.Tensor) -> torch.Tensor:
    """Rows at half steps, with the last one repeated; a single column stays as it is."""
    after = torch.cat([x[:, :, 1:], x[:, :, -1:]], 2)
    return torch.stack([x, (x + after) / 2], 3).flatten(2, 3).expand(-1, -1, -1, 3)


def _padded(x: Array) -> Array:
    return np.pad(x, ((0, 0), (0, 0), (1, 1), (0, 2)), constant_values=0.5)


@pytest.mark.parametrize("case", list(cases()), ids=lambda case: f"{case[0]}-{case[1]}")
def test_old_operators(case: Case) -> None:
    operator, opset, values, settings, formula = case
    stored = " ".join(name for name in values if name != "x")
    check(operator, values, opset=opset, stored=stored, **settings)
    expected = formula(*values.values())
    found = runtime.run(single(operator, values, opset=opset, stored=stored, **settings), {"x": values["x"]})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


def test_sizes_of_a_split_as_an_input() -> None:
    values = {"x": X, "n": np.array([2, 3], np.float32)}
    check("Split", values, opset=1, stored="n", outputs=2, axis=3)
    with pytest.raises(ValueError, match="has no axis"):
        runtime.run(single("Split", values, opset=1, stored="n", outputs=2), {"x": X})


def test_a_graph_of_a_newer_opset_stays_as_it_is() -> None:
    for opset in (7, 8, 9, 17):
        network = Network(single("Add", {"x": X, "y": X}, opset=opset))
        assert raise_opset(network) is network


@pytest.mark.parametrize("opset", [6, 7, 8])
def test_statistics_per_channel_that_mxnet_calls_not_spatial(opset: int) -> None:
    values = {"x": X, **STATISTICS}
    said = {"is_test": 1} if opset < 7 else {}
    stored = " ".join(STATISTICS)
    check("BatchNormalization", values, opset=opset, stored=stored, spatial=0, slopes="x", **said)
    found = runtime.run(single("BatchNormalization", values, opset=opset, stored=stored, spatial=0, **said), {"x": X})[0]
    np.testing.assert_allclose(found, normalised(**values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("operator", "values"), [("Dropout", {"x": X}), ("BatchNormalization", {"x": X, **STATISTICS})])
def test_training_mode_is_named(operator: str, values: dict[str, Array]) -> None:
    proto = single(operator, values, opset=6, stored=" ".join(n for n in values if n != "x"))
    with pytest.raises(UnsupportedOperatorError, match=rf"{operator} \(y0\) .* training mode"):
        ox.to_torch(proto)
    with pytest.raises(ModelError, match=rf"net can't be run by ONNX Runtime: {operator} \(y0\) is in training mode"):
        compute_reference(Network(proto), X, "net")


def old_network(opset: int) -> onnx.ModelProto:
    """One network as a file of `opset` writes it: with attributes before version 7, with shapes that broadcast after."""
    net, old = Net((1, 3, 16, 16), seed=3), opset < 7
    aligned: dict[str, Any] = {"broadcast": 1, "axis": 1} if old else {}
    tested: dict[str, Any] = {"is_test": 1} if old else {}

    def per_channel(count: int) -> str:
        values = net.rng.standard_normal(count)
        return net.weight(values if old else values.reshape(-1, 1, 1))

    x = net.add("Add", net.conv("image", 3, 8, pads=[1] * 4), per_channel(8), **aligned)
    statistics = [net.weight(net.rng.standard_normal(8)) for _ in range(3)] + [net.weight(net.rng.uniform(0.5, 2, 8))]
    x = net.add("BatchNormalization", x, *statistics, **tested)
    x = net.add("PRelu", x, per_channel(8))
    x = net.add("Dropout", net.conv(x, 8, 6, pads=[1] * 4, strides=[2, 2]), **tested)
    x = net.add("Mul", x, per_channel(6), **aligned)
    x = net.add("Relu", x)
    pooled = net.add("AveragePool", x, kernel_shape=[8, 8])
    flat = net.add(
        "Reshape", pooled, *([] if opset < 5 else [net.weight(np.array([1, 6]))]), **({"shape": [1, 6]} if opset < 5 else {})
    )
    bias = net.weight(net.rng.standard_normal(3))
    return net.model([net.add("Gemm", flat, net.random(3, 6), bias, transB=1, **({"broadcast": 1} if old else {}))], opset)


@pytest.mark.parametrize("opset", [4, 6])
@pytest.mark.parametrize("method", ["elrp", "gradient-x-input"])
def test_a_network_is_explained_as_in_a_newer_opset(tmp_path: Path, opset: int, method: Any) -> None:
    paths = [save(old_network(version), tmp_path / f"{version}.onnx") for version in (opset, 11)]
    graphs = [convert(open_model(path), probes(2).images) for path in paths]
    assert graphs[0].encoder.tensors == graphs[1].encoder.tensors
    assert all(graph.batchable for graph in graphs)
    assert worst_cosine(*(ox.attribute(path, probes(3), method) for path in paths)) > 0.9999


def test_shapes_are_inferred_past_operators_that_declared_none(tmp_path: Path) -> None:
    model = open_model(save(old_network(1), tmp_path / "net.onnx"))
    assert convert(model, probes(2).images).encoder.tensors
    weights = [numpy_helper.from_array(value, name) for name, value in STATISTICS.items()]
    node = helper.make_node("BatchNormalization", ["x", *STATISTICS], ["y"], is_test=1, consumed_inputs=[0, 0, 0, 1, 1])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", X.shape), ("y", None))]
    proto = helper.make_model(
        helper.make_graph([node], "g", value[:1], value[1:], weights), opset_imports=[helper.make_opsetid("", 1)]
    )
    assert infer_shapes(proto, {"x": X.shape})["y"][0] == X.shape
