"""ONNX Runtime's own operators: with a kernel for the processor against it, else against the formula in ContribOperators.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from onnxspace import to_torch
from onnxspace.errors import UnsupportedOperatorError
from onnxspace.model import runtime
from onnxspace.torchgraph.build import build
from tests.helpers.single import MICROSOFT, as_tuple, check, random, single


def compare(operator: str, values: dict[str, Any], *expected: Tensor, slopes: str, **settings: Any) -> None:
    """The converted node makes the tensors `expected`; finite differences confirm its gradient."""
    graph = build(single(operator, values, opset=17, domain=MICROSOFT, **settings), "test")
    tensors = {name: torch.from_numpy(value) for name, value in values.items() if value is not None}
    for ours, formula in zip(as_tuple(graph(*tensors.values())), expected, strict=True):
        torch.testing.assert_close(ours, formula, rtol=1e-5, atol=1e-5)
    doubles = {name: value.double().requires_grad_(name in slopes.split()) for name, value in tensors.items()}
    assert torch.autograd.gradcheck(graph.double(), tuple(doubles.values()), fast_mode=True)


def given(values: dict[str, Any]) -> list[Any]:
    return [torch.from_numpy(value) for value in values.values()]


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
@pytest.mark.parametrize("inner", [0, 1])
def test_bias_softmax(axis: int, inner: int) -> None:
    values = {"x": random(0, 2, 3, 4, 5), "b": random(1, *((2, 1, 1, 5) if inner else (1, 1, 4, 5)))}
    total = torch.from_numpy(values["x"] + values["b"])
    flat = torch.softmax(total.reshape(int(np.prod(total.shape[: axis % 4])), -1), -1).reshape(total.shape)
    compare("BiasSoftmax", values, flat, slopes="x b", axis=axis, is_inner_broadcast=inner)


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("swish", [0, 1])
def test_group_norm(last: int, swish: int) -> None:
    values = {"x": random(0, 2, 8, 3, 5), "s": random(1, 8), "o": random(2, 8)}
    formula = F.group_norm(given(values)[0], 4, weight=given(values)[1], bias=given(values)[2], eps=1e-3)
    formula = F.silu(formula) if swish else formula
    if last:
        values["x"], formula = values["x"].transpose(0, 2, 3, 1).copy(), formula.permute(0, 2, 3, 1)
    settings = {"groups": 4, "activation": swish, "epsilon": 1e-3} | ({} if last else {"channels_last": 0})
    compare("GroupNorm", values, formula, slopes="x s o", **settings)


@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (2, 1, 1, 8), (2, 8)])
@pytest.mark.parametrize("biased", [False, True])
def test_skip_group_norm(shape: tuple[int, ...], biased: bool) -> None:
    values = {"x": random(0, 2, 3, 5, 8), "s": random(1, 8), "o": random(2, 8), "k": random(3, *shape)}
    values |= {"b": random(4, 8)} if biased else {}
    total = torch.from_numpy(values["x"] + values["k"].reshape(2, *shape[1:-1] or (1, 1), 8) + values.get("b", 0))
    formula = F.group_norm(total.permute(0, 3, 1, 2), 2, *given(values)[1:3]).permute(0, 2, 3, 1)
    compare("SkipGroupNorm", values, F.silu(formula), total, slopes="x s o k", outputs=2, groups=2, activation=1)


@pytest.mark.parametrize("biased", [False, True])
def test_nhwc_conv(biased: bool) -> None:
    values = {"x": random(0, 2, 7, 6, 4), "w": random(1, 6, 3, 2, 2)} | ({"b": random(2, 6)} if biased else {})
    x, w, *bias = given(values)
    formula = F.conv2d(
        F.pad(x.permute(0, 3, 1, 2), (0, 1, 1, 0)), w.permute(0, 3, 1, 2), bias[0] if bias else None, 2, groups=2
    )
    settings = {"group": 2, "strides": [2, 2], "pads": [1, 0, 0, 1], "kernel_shape": [3, 2]}
    compare("NhwcConv", values, formula.permute(0, 2, 3, 1), slopes="x w", **settings)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize(
    "said", [{}, {"strides": [2, 1], "pads": [1, 0, 1, 1]}, {"auto_pad": "SAME_LOWER"}, {"dilations": [2, 2]}]
)
def test_nhwc_max_pool(kind: type, said: dict[str, Any]) -> None:
    limits = np.iinfo(kind)
    x: NDArray[Any] = np.random.default_rng(0).integers(limits.min, limits.max, (2, 6, 7, 3)).astype(kind)
    check("NhwcMaxPool", {"x": x}, opset=17, domain=MICROSOFT, kernel_shape=[3, 2], **said)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("stride", [1, 5])
def test_quantised_convolution_with_channels_last(mode: str, stride: int) -> None:
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "x": rng.integers(0, 255, (2, 8, 8, 4)),
        "xs": 0.1,
        "xz": 100,
        "w": rng.integers(0, 255, (6, 2, 3, 3)),
    }
    values |= {"ws": 0.02, "wz": 128, "ys": 0.5, "yz": 120}
    values = {name: np.asarray(v, np.float32 if name.endswith("s") else np.uint8) for name, v in values.items()}
    settings: dict[str, Any] = {
        "channels_last": 1,
        "group": 2,
        "auto_pad": mode,
        "strides": [stride, stride],
        "stored": "xs xz w ws wz ys yz",
    }
    check("QLinearConv", values, opset=17, domain=MICROSOFT, **settings)


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("axis", [None, 1])
def test_quantisation_of_the_runtime(kind: type, axis: int | None) -> None:
    size = () if axis is None else (3,)
    scale = np.full(size, 0.01, np.float32)
    zero: NDArray[Any] = np.full(size, 7, kind)
    said: dict[str, Any] = {} if axis is None else {"axis": axis}
    check("QuantizeLinear", {"x": random(0, 2, 3), "s": scale, "z": zero}, opset=17, domain=MICROSOFT, **said)
    held = {"x": np.arange(6).reshape(2, 3).astype(kind), "s": scale, "z": zero}
    check("DequantizeLinear", held, opset=17, domain=MICROSOFT, **said)


@pytest.mark.parametrize("residual", [False, True])
def test_sums_with_a_bias(residual: bool) -> None:
    values = {"x": random(0, 2, 3, 4), "b": random(1, 4)} | ({"r": random(2, 2, 3, 4)} if residual else {})
    total = torch.from_numpy(values["x"] + values["b"] + values.get("r", 0))
    compare("BiasDropout", values, total, slopes="x b")
    if residual:
        compare("BiasAdd", values, total, slopes="x b r")
    made = build(single("BiasDropout", values, opset=17, domain=MICROSOFT, outputs=2), "test")(*given(values))
    assert made[1].dtype == torch.bool
    assert made[1].all()


def test_bias_dropout_in_training_is_refused() -> None:
    values = {"x": random(0, 2, 4), "b": random(1, 4), "r": None, "ratio": np.array(0.5, np.float32), "t": np.array(True)}
    with pytest.raises(UnsupportedOperatorError, match="training"):
        build(single("BiasDropout", values, opset=17, domain=MICROSOFT, stored="t"), "test")


def test_bias_split_gelu() -> None:
    values = {"x": random(0, 2, 3, 8), "b": random(1, 8)}
    total = torch.from_numpy(values["x"] + values["b"])
    compare("BiasSplitGelu", values, total[..., :4] * F.gelu(total[..., 4:]), slopes="x b")


@pytest.mark.parametrize("alpha", [1.0, 1.702])
def test_quick_gelu(alpha: float) -> None:
    check("QuickGelu", {"x": random(0, 2, 3)}, opset=17, domain=MICROSOFT, alpha=alpha, slopes="x")


@pytest.mark.parametrize("all_in_one", [True, False])
def test_packed_multi_head_attention_equals_the_runtimes_of_three_tensors(all_in_one: bool) -> None:
    parts = [random(seed, 2, 3, 2, 4) for seed in range(3)]
    flat = {name: part.reshape(2, 3, 8) for name, part in zip("qkv", parts, strict=True)}
    expected = runtime.run(single("MultiHeadAttention", flat, opset=17, domain=MICROSOFT, num_heads=2), flat)[0]
    values = {"q": np.stack(parts, 3)} if all_in_one else {"q": flat["q"], "k": np.stack(parts[1:], 3)}
    compare("MultiHeadAttention", values, torch.from_numpy(expected), slopes=" ".join(values), num_heads=2)


def test_a_bias_of_packed_attention_is_refused() -> None:
    values = {"q": random(0, 2, 3, 2, 3, 4), "k": None, "v": None, "b": random(1, 24)}
    with pytest.raises(UnsupportedOperatorError, match="bias"):
        build(single("MultiHeadAttention", values, opset=17, domain=MICROSOFT, num_heads=2), "test")


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize(("size", "kernel", "stride"), [(8, 1, 5), (8, 1, 3), (7, 2, 4), (11, 2, 5)])
@pytest.mark.parametrize("operator", ["Conv", "LpPool"])
def test_same_padding_of_windows_shorter_than_their_strides(
    operator: str, mode: str, size: int, kernel: int, stride: int
) -> None:
    """The runtime's Conv then starts at the border, its LpPool leaves out both borders, its other pools refuse."""
    values = {"x": random(0, 1, 2, size, size)} | ({"w": random(1, 3, 2, kernel, kernel)} if operator == "Conv" else {})
    said: dict[str, Any] = {} if operator == "Conv" else {"kernel_shape": [kernel, kernel]}
    model = single(operator, values, opset=18, auto_pad=mode, strides=[stride, stride], **said)
    graph = to_torch(model)
    expected = runtime.run(model, values)[0]
    np.testing.assert_allclose(graph(*given(values)).detach().numpy(), expected, rtol=1e-4, atol=2e-5)
