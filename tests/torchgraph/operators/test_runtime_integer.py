"""Operators that ONNX Runtime's quantisers and optimiser write: against ONNX Runtime, and their gradients against float twins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

import onnxspace as ox
from onnxspace.errors import UnsupportedOperatorError
from onnxspace.model import runtime
from onnxspace.torchgraph.build import build
from tests.helpers.nets import Net, save
from tests.helpers.single import MICROSOFT, as_tuple, check, random, single

Array = NDArray[Any]
NUMBERS = np.random.default_rng(0)


def scalar(value: float) -> Array:
    return np.asarray(value, np.float32)


def node_of(operator: str, values: dict[str, Any], softmax_opset: int = 0, **settings: Any) -> onnx.ModelProto:
    """A model of one node of ONNX Runtime; `softmax_opset` is its attribute of the name `opset`."""
    model = single(operator, values, opset=17, domain=MICROSOFT, **settings)
    if softmax_opset:
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", softmax_opset))
    return model


def run_both(operator: str, values: dict[str, Any], **settings: Any) -> tuple[list[Array], list[Array]]:
    """The converted node's outputs, and ONNX Runtime's."""
    model = node_of(operator, values, **settings)
    feeds: dict[str, Any] = {info.name: values[info.name] for info in model.graph.input}
    found = as_tuple(build(model, "test")(*[torch.from_numpy(np.asarray(value)) for value in feeds.values()]))
    return [value.detach().numpy() for value in found], runtime.run(model, feeds)


def within_a_step(operator: str, values: dict[str, Any], **settings: Any) -> None:
    """Integers are those of ONNX Runtime, of which one in fifty may be one step off."""
    (ours,), (theirs,) = run_both(operator, values, **settings)
    steps = np.abs(ours - theirs.astype(np.float32))
    assert theirs.std() > 5
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.02


def gradient(operator: str, values: dict[str, Any], of: str, **settings: Any) -> Array:
    """d(weighted sum of the outputs)/d(the input `of`), which is given as floating point."""
    graph = build(node_of(operator, values, **settings), "test")
    given = {name: torch.from_numpy(np.asarray(value)) for name, value in values.items() if value is not None}
    given = {name: value for name, value in given.items() if name not in settings.get("stored", "").split()}
    given[of] = given[of].float().requires_grad_(True)
    made = as_tuple(graph(*given.values()))[0]
    weights = torch.from_numpy(np.random.default_rng(9).standard_normal(made.shape).astype(np.float32))
    (found,) = torch.autograd.grad((made * weights).sum(), given[of])
    return found.numpy()


def weights_of_outputs(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(9).standard_normal(shape))


def unary(*shape: int, kind: type = np.uint8, scale: float = 0.05, output: float = 1 / 256) -> dict[str, Array]:
    limits = np.iinfo(kind)
    x = NUMBERS.integers(limits.min, limits.max, shape, endpoint=True).astype(kind)
    zeros = np.asarray(limits.max // 2, kind), np.asarray(limits.min, kind)
    return {"x": x, "xs": scalar(scale), "xz": zeros[0], "ys": scalar(output), "yz": zeros[1]}


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(("opset", "axis"), [(13, -1), (13, 1), (11, 1), (11, 2)])
def test_softmax(kind: type, opset: int, axis: int) -> None:
    values = unary(2, 3, 4, kind=kind)
    within_a_step("QLinearSoftmax", values, softmax_opset=opset, axis=axis)
    x = torch.from_numpy((values["x"].astype(np.float64) - values["xz"]) * 0.05).requires_grad_(True)
    made = torch.softmax(x, axis) if opset >= 13 else torch.softmax(x.flatten(axis), -1).reshape(x.shape)
    (expected,) = torch.autograd.grad((made * weights_of_outputs(2, 3, 4)).sum() * 256, x)
    found = gradient("QLinearSoftmax", values, "x", softmax_opset=opset, axis=axis)
    assert np.corrcoef(found.ravel(), expected.numpy().ravel() * 0.05)[0, 1] > 0.9999  # where an output is 0, rounding clips


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(("axes", "kept"), [([2, 3], 1), ([1], 0), ([-1], 0)])
def test_mean(kind: type, axes: list[int], kept: int) -> None:
    """ONNX Runtime has no kernel for processors, so that the formula is the reference."""
    values = unary(2, 30, 4, 5, kind=kind, output=0.0273)
    values["yz"] = np.asarray(np.iinfo(kind).min + 128, kind)
    graph = build(node_of("QLinearReduceMean", values, axes=axes, keepdims=kept), "test")
    means = ((values["x"].astype(np.float64) - values["xz"]) * 0.05).mean(tuple(axes), keepdims=bool(kept))
    limits = np.iinfo(kind)
    steps = graph(*map(torch.from_numpy, values.values())).numpy() - np.clip(
        np.round(means / 0.0273) + values["yz"], limits.min, limits.max
    )
    assert (np.abs(steps) > 1e-3).mean() <= 0.02
    assert np.abs(steps).max() <= 1
    found = gradient("QLinearReduceMean", values, "x", axes=axes, keepdims=kept)
    x = torch.zeros(2, 30, 4, 5, dtype=torch.float64, requires_grad=True)
    mean = x.mean(tuple(axes), keepdim=bool(kept))
    (expected,) = torch.autograd.grad((mean * weights_of_outputs(*mean.shape)).sum() * 0.05 / 0.0273, x)
    inside = np.isclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)
    assert (inside | (found == 0)).all()
    assert inside.mean() > 0.5


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_where(kind: type) -> None:
    x, y = unary(3, 4, 5, kind=kind), unary(3, 4, 5, kind=kind, scale=0.03)
    values = {"c": NUMBERS.integers(0, 2, (3, 4, 5)).astype(bool), "x": x["x"], "xs": x["xs"], "xz": x["xz"]}
    values |= {"y": y["x"], "ys": y["xs"], "yz": y["xz"], "zs": scalar(0.06), "zz": x["xz"]}
    stored = "xs xz ys yz zs zz"
    within_a_step("QLinearWhere", values, stored=stored)
    found = gradient("QLinearWhere", values, "x", stored=stored)
    expected = np.where(values["c"], weights_of_outputs(3, 4, 5).numpy() * 0.05 / 0.06, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def matrix(kind: type, columns: bool, rows: int = 12, count: int = 6) -> dict[str, Array]:
    limits = np.iinfo(kind)
    size = (count,) if columns else ()
    scale = (0.01 + 0.01 * NUMBERS.random(size)).astype(np.float32)
    zero = NUMBERS.integers(-3, 4, size) + (128 if kind == np.uint8 else 0)
    weight = NUMBERS.integers(limits.min, limits.max, (rows, count), endpoint=True)
    return {"w": weight.astype(kind), "ws": np.asarray(scale), "wz": np.asarray(zero, kind)}


def dequantised(values: dict[str, Array]) -> Array:
    made: Array = (values["w"].astype(np.float64) - values["wz"].astype(np.float64)) * values["ws"]
    return made


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_products_of_integers_in_floating_point(kind: type, columns: bool, biased: bool) -> None:
    weights = matrix(kind, columns)
    x = NUMBERS.integers(0, 256, (2, 5, 12)).astype(np.uint8)
    values = {"x": x, "w": weights["w"], "xs": scalar(0.02), "ws": weights["ws"], "xz": np.asarray(120, np.uint8)}
    values |= {"wz": weights["wz"]} | ({"b": random(3, 6)} if biased else {})
    stored = " ".join(name for name in values if name != "x")
    check("MatMulIntegerToFloat", values, opset=17, domain=MICROSOFT, stored=stored)
    found = gradient("MatMulIntegerToFloat", values, "x", stored=stored)
    expected = weights_of_outputs(2, 5, 6).numpy() @ dequantised(weights).T * 0.02
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("columns", [False, True])
def test_products_with_a_factor_quantised_to_its_range(kind: type, columns: bool) -> None:
    weights = matrix(kind, columns)
    values = {"x": random(1, 2, 5, 12), **weights, "b": random(3, 6)}
    check("DynamicQuantizeMatMul", values, opset=17, domain=MICROSOFT, stored="w ws wz b")
    found = gradient("DynamicQuantizeMatMul", values, "x", stored="w ws wz b")
    np.testing.assert_allclose(found, weights_of_outputs(2, 5, 6).numpy() @ dequantised(weights).T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_an_integer_projection(columns: bool, causal: int, masked: bool) -> None:
    weights = matrix(np.int8, columns, 8, 24)
    x = NUMBERS.integers(0, 256, (2, 5, 8)).astype(np.uint8)
    values = {"x": x, "w": weights["w"], "b": random(2, 24), "xs": scalar(0.01), "ws": weights["ws"]}
    values |= {"m": np.array([5, 3], np.int32) if masked else None, "xz": np.asarray(128, np.uint8), "wz": weights["wz"]}
    stored = "w b xs ws xz wz"
    check("QAttention", values, opset=17, domain=MICROSOFT, stored=stored, num_heads=2, unidirectional=causal)
    found = gradient("QAttention", values, "x", stored=stored, num_heads=2, unidirectional=causal)
    plain = {"x": ((x.astype(np.float32) - 128) * 0.01), "w": dequantised(weights).astype(np.float32), "b": values["b"]}
    twin = plain | {"m": values["m"]}
    expected = gradient("Attention", twin, "x", stored="w b", num_heads=2, unidirectional=causal) * 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("activation", ["", "Relu", "Clip"])
@pytest.mark.parametrize("added", [False, True])
def test_fused_convolution_with_channels_last(activation: str, added: bool) -> None:
    """Its kernel for processors is for half precision on some of them, so that the formula is the reference."""
    values = {"x": random(0, 2, 7, 6, 4), "w": random(1, 6, 2, 3, 2), "b": random(2, 6)}
    x, w, b = (torch.from_numpy(value).double() for value in values.values())
    made = F.conv2d(F.pad(x.permute(0, 3, 1, 2), (0, 1, 1, 0)), w, b, 2, groups=2).permute(0, 2, 3, 1)
    values |= {"z": random(3, *made.shape)} if added else {}
    total = made + torch.from_numpy(values["z"]).double() if added else made
    expected = {"": total, "Relu": total.relu(), "Clip": total.clamp(0, 6)}[activation]
    said: dict[str, Any] = {"activation": activation} if activation else {}
    said |= {"activation_params": [0.0, 6.0]} if activation == "Clip" else {}
    settings = {"group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1], "kernel_shape": [3, 2], **said}
    graph = build(single("NhwcFusedConv", values, opset=17, domain=MICROSOFT, **settings), "test").double()
    given = [torch.from_numpy(value).double().requires_grad_(True) for value in values.values()]
    torch.testing.assert_close(graph(*given), expected)
    assert torch.autograd.gradcheck(graph, tuple(given), fast_mode=True)


def lstm(columns: bool, directions: int) -> dict[str, Any]:
    size, hidden = 6, 5
    scales = (directions, 4 * hidden) if columns else (directions,)
    values: dict[str, Any] = {"x": random(0, 4, 1, size)}
    values |= {
        name: NUMBERS.integers(-127, 128, (directions, n, 4 * hidden)).astype(np.int8)
        for name, n in (("w", size), ("r", hidden))
    }
    values |= {"b": random(3, directions, 8 * hidden), "n": None, "h": None, "c": None, "p": None}
    for name in ("w", "r"):
        values |= {
            f"{name}s": (0.004 + 0.004 * NUMBERS.random(scales)).astype(np.float32),
            f"{name}z": np.zeros(scales, np.int8),
        }
    return values


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_networks_of_integers(columns: bool, direction: str) -> None:
    values = lstm(columns, 2 if direction == "bidirectional" else 1)
    stored = "w r b ws wz rs rz"
    settings: dict[str, Any] = {"stored": stored, "hidden_size": 5, "direction": direction}
    (ours, *_), (theirs, *_) = run_both("DynamicQuantizeLSTM", values, outputs=3, **settings)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4)
    twin = {"x": values["x"], "b": values["b"]}
    for name in ("w", "r"):
        scale = values[f"{name}s"].reshape(values[name].shape[0], 1, -1)
        twin[name] = np.ascontiguousarray((values[name] * scale).transpose(0, 2, 1)).astype(np.float32)
    ordered = {name: twin[name] for name in ("x", "w", "r", "b")}
    graph = build(single("LSTM", ordered, opset=17, stored="w r b", hidden_size=5, direction=direction), "test")
    x = torch.from_numpy(values["x"]).requires_grad_(True)
    made = as_tuple(graph(x))[0]
    (expected,) = torch.autograd.grad((made * weights_of_outputs(*made.shape).float()).sum(), x)
    found = gradient("DynamicQuantizeLSTM", values, "x", **settings)
    assert np.corrcoef(found.ravel(), expected.numpy().ravel())[0, 1] > 0.999


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_weights_of_few_bits(tmp_path: Path, bits: int, symmetric: bool) -> None:
    """A file of ONNX Runtime's own weight-only quantiser: values against ONNX Runtime, gradients against the stored weights."""
    net = Net((1, 3, 16, 16), seed=6)
    x = net.add("Flatten", net.add("Relu", net.conv("image", 3, 8, strides=[2, 2])))
    x = net.add("MatMul", x, net.random(392, 48))
    proto = net.model([net.add("MatMul", net.add("Relu", x), net.random(48, 5))])
    quantiser = MatMulNBitsQuantizer(proto, bits=bits, block_size=32, is_symmetric=symmetric)
    quantiser.process()
    made = quantiser.model.model
    nodes = [node for node in made.graph.node if node.op_type == "MatMulNBits"]
    assert len(nodes) == 2
    image = random(1, 1, 3, 16, 16)
    graph = ox.to_torch(made)
    np.testing.assert_allclose(
        graph(torch.from_numpy(image)).numpy(), runtime.run(made, {"image": image})[0], rtol=1e-3, atol=1e-3
    )
    eye = np.eye(48, dtype=np.float32)
    alone = Net((48, 48)).model(["y"])
    alone.graph.node.append(nodes[1])
    alone.graph.node[0].input[0], alone.graph.node[0].output[0] = "image", "y"
    alone.graph.initializer.extend(made.graph.initializer)
    alone.opset_import.append(onnx.helper.make_opsetid(MICROSOFT, 1))
    weight = runtime.run(alone, {"image": eye})[0]
    graph = build(alone, "test")
    x_ = torch.zeros(1, 48, requires_grad=True)
    (found,) = torch.autograd.grad(graph(x_)[0, 3], x_)
    np.testing.assert_allclose(found[0].numpy(), weight[:, 3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 4])
def test_inputs_that_a_kernel_may_round_are_not_rounded(level: int) -> None:
    """At `accuracy_level` 4 ONNX Runtime rounds activations to 8 bits: the function is the product all the same."""
    net = Net((1, 3, 16, 16), seed=6)
    x = net.add("Flatten", net.add("Relu", net.conv("image", 3, 8, strides=[2, 2])))
    for size, count in ((392, 64), (64, 32), (32, 5)):
        x = net.add("Relu", net.add("MatMul", x, net.random(size, count)))
    proto = net.model([x])
    exact = MatMulNBitsQuantizer(proto, bits=4, block_size=32, is_symmetric=False, accuracy_level=level)
    exact.process()
    made = exact.model.model
    levels = {a.i for node in made.graph.node for a in node.attribute if a.name == "accuracy_level"}
    assert levels == ({level} if level else set())
    image = random(1, 1, 3, 16, 16)
    found, expected = ox.to_torch(made)(torch.from_numpy(image)).numpy(), runtime.run(made, {"image": image})[0]
    assert np.abs(found - expected).max() <= 0.03 * np.abs(expected).max()


def test_weights_of_few_bits_in_another_order_are_refused() -> None:
    values: dict[str, Any] = {"x": random(0, 1, 32), "w": np.zeros((4, 2, 8), np.uint8), "s": np.ones((4, 2), np.float32)}
    values |= {"z": None, "g": np.arange(32, dtype=np.int32)}
    with pytest.raises(UnsupportedOperatorError, match="order of groups"):
        build(
            single("MatMulNBits", values, opset=17, domain=MICROSOFT, stored="w s g", N=4, K=32, bits=4, block_size=16), "test"
        )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [False, True])
def test_tables_in_blocks(bits: int, zeros: bool) -> None:
    data = NUMBERS.integers(0, 256, (7, 32 * bits // 8)).astype(np.uint8)
    values: dict[str, Any] = {"d": data, "i": np.array([[0, 6], [3, -2]]), "s": NUMBERS.random((7, 2)).astype(np.float32)}
    values |= {"z": NUMBERS.integers(0, 256, (7, 2 * bits // 8)).astype(np.uint8)} if zeros else {}
    stored = " ".join(name for name in values if name != "i")
    settings = {"bits": bits, "block_size": 16, "quantize_axis": 1, "gather_axis": 0}
    check("GatherBlockQuantized", values, opset=21, domain=MICROSOFT, stored=stored, **settings)


def grouped(length: int, past: int, packed: bool) -> dict[str, Any]:
    heads, shared, size = 4, 2, 16
    q, k, v = (random(n, 2, length, count * size) for n, count in ((0, heads), (1, shared), (2, shared)))
    values: dict[str, Any] = {"q": np.concatenate([q, k, v], 2) if packed else q}
    values |= {"k": None if packed else k, "v": None if packed else v}
    values |= {name: random(n, 2, shared, past, size) if past else None for n, name in ((3, "pk"), (4, "pv"))}
    values |= {"n": np.full(2, past + length - 1, np.int32), "t": np.asarray(past + length, np.int32)}
    return values


@pytest.mark.parametrize("said", [{}, {"local_window_size": 3}, {"softcap": 2.0}, {"scale": 0.2}])
@pytest.mark.parametrize(("length", "past"), [(6, 0), (1, 5)])
@pytest.mark.parametrize("packed", [False, True])
def test_attention_of_groups(said: dict[str, Any], length: int, past: int, packed: bool) -> None:
    values = grouped(length, past, packed)
    settings = {"num_heads": 4, "kv_num_heads": 2, **said}
    check("GroupQueryAttention", values, opset=17, domain=MICROSOFT, stored="n t", outputs=3, slopes="q", **settings)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize(("length", "past"), [(6, 0), (1, 5)])
def test_attention_of_groups_with_rotation(interleaved: int, length: int, past: int) -> None:
    values = grouped(length, past, packed=False)
    angles = np.arange(12)[:, None] / 10 ** np.arange(8)
    values |= {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    settings = {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "rotary_interleaved": interleaved}
    check("GroupQueryAttention", values, opset=17, domain=MICROSOFT, stored="n t cos sin", outputs=3, slopes="q", **settings)


def test_a_network_that_is_optimised_after_dynamic_quantisation(tmp_path: Path) -> None:
    """ONNX Runtime's quantiser and then its optimiser: the file has the fused products, and converts."""
    net = Net((1, 3, 16, 16), seed=7)
    x = net.add("Flatten", net.add("Relu", net.conv("image", 3, 8, strides=[2, 2])))
    for size, count in ((392, 32), (32, 16)):
        x = net.add("Relu", net.add("Add", net.add("MatMul", x, net.random(size, count)), net.weight(random(8, count))))
    float_path = save(net.model([net.add("MatMul", x, net.random(16, 4))]), tmp_path / "float.onnx")
    quantize_dynamic(float_path, tmp_path / "dynamic.onnx", weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"])
    library = runtime.import_onnxruntime()
    options = library.SessionOptions()
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "saved.onnx")
    library.InferenceSession(str(tmp_path / "dynamic.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = {node.op_type for node in onnx.load(tmp_path / "saved.onnx").graph.node}
    assert kinds & {"DynamicQuantizeMatMul", "MatMulIntegerToFloat"}
    image = torch.from_numpy(random(1, 1, 3, 16, 16))
    found = [ox.to_torch(tmp_path / name)(image).numpy() for name in ("float.onnx", "saved.onnx")]
    assert np.abs(found[0] - found[1]).max() < 0.1 * np.abs(found[0]).max()
