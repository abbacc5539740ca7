"""Operators written in pieces give the map of the operator, whatever the exporter's formula, and merged ones that of pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import onnxspace as ox
from onnxspace.attribution.lrp import RULE_SETS, apply_rules
from onnxspace.torchgraph.passes.known_activations import KNOWN
from onnxspace.torchgraph.support import list_support
from onnxspace.torchgraph.view import operator_from_name
from tests.attribution.test_maps import probes
from tests.helpers.networks import Net, save, worst_cosine

Write = Callable[[Net, str], str]


def scalar(net: Net, value: float) -> str:
    return net.weight(np.float32(value))


def silu(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("Sigmoid", x))


def silu_as_quotient(net: Net, x: str) -> str:
    return net.add("Div", x, net.add("Add", scalar(net, 1), net.add("Exp", net.add("Neg", x))))


def gelu_erf(net: Net, x: str) -> str:
    half = net.add("Mul", x, scalar(net, 0.5))
    return net.add("Mul", half, net.add("Add", net.add("Erf", net.add("Div", x, scalar(net, 2**0.5))), scalar(net, 1)))


def gelu_erf_scaled_last(net: Net, x: str) -> str:
    product = net.add("Mul", net.add("Add", scalar(net, 1), net.add("Erf", net.add("Mul", x, scalar(net, 0.5**0.5)))), x)
    return net.add("Mul", product, scalar(net, 0.5))


def gelu_tanh(net: Net, x: str) -> str:
    cube = net.add("Mul", net.add("Mul", x, x), x)
    inner = net.add("Mul", net.add("Add", x, net.add("Mul", cube, scalar(net, 0.044715))), scalar(net, (2 / np.pi) ** 0.5))
    return net.add("Mul", net.add("Mul", scalar(net, 0.5), x), net.add("Add", net.add("Tanh", inner), scalar(net, 1)))


def hardswish(net: Net, x: str) -> str:
    gate = net.add("Clip", net.add("Add", x, scalar(net, 3)), scalar(net, 0), scalar(net, 6))
    return net.add("Div", net.add("Mul", x, gate), scalar(net, 6))


def hardswish_by_hard_sigmoid(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def mish(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("Tanh", net.add("Softplus", x)))


FORMS: list[tuple[Write, Callable[[torch.Tensor], torch.Tensor]]] = [
    (silu, torch.nn.functional.silu),
    (silu_as_quotient, torch.nn.functional.silu),
    (gelu_erf, torch.nn.functional.gelu),
    (gelu_erf_scaled_last, torch.nn.functional.gelu),
    (gelu_tanh, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    (hardswish, torch.nn.functional.hardswish),
    (hardswish_by_hard_sigmoid, torch.nn.functional.hardswish),
    (mish, torch.nn.functional.mish),
]


def network(write: Write, folder: Path) -> Path:
    """Three convolutions, an activation after each; the last one under a residual connection."""
    net = Net(("N", 3, 12, 12))
    x = write(net, net.conv("image", 3, 6))
    x = write(net, net.conv(x, 6, 6))
    z = net.conv(x, 6, 6, pads=[1] * 4)
    x = net.add("Add", z, write(net, z))
    return save(net.model([net.conv(x, 6, 2, 8)]), folder / "net.onnx")


def ratio_twin(images: np.ndarray, path: Path, function: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """ε-LRP of that network in float64: plain convolutions and a custom derivative, no graph conversion."""
    weights = [onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    first, second, third = (torch.from_numpy(w.copy()).double() for w in weights if w.ndim == 4 and w.shape[2] == 3)

    def activation(z: torch.Tensor) -> torch.Tensor:
        ratio = function(z) / (z + torch.where(z >= 0, 1e-4, -1e-4))
        return z * ratio.detach()

    x = torch.from_numpy(images).double().requires_grad_(True)
    y = activation(torch.conv2d(x, first))
    z = torch.conv2d(activation(torch.conv2d(y, second)), third, padding=1)
    (gradient,) = torch.autograd.grad((z + activation(z)).sum(), x)
    return (x * gradient).mean(dim=1).detach().numpy()


@pytest.mark.parametrize(("write", "function"), FORMS, ids=[write.__name__ for write, _ in FORMS])
def test_maps_are_those_of_the_whole_activation(tmp_path: Path, write: Write, function: Callable[..., torch.Tensor]) -> None:
    path = network(write, tmp_path)
    model = ox.open_model(path)
    images = probes(3, 12)
    found = ox.attribute(model, images)
    assert worst_cosine(found, ratio_twin(model.preprocess(images.images), path, function)) >= 0.9999


@pytest.mark.parametrize(("write", "function"), FORMS, ids=[write.__name__ for write, _ in FORMS])
def test_fusion_does_not_change_what_is_computed(tmp_path: Path, write: Write, function: Callable[..., torch.Tensor]) -> None:
    net = Net(("N", 3, 6, 6))
    graph = ox.to_torch(save(net.model([write(net, net.conv("image", 3, 4))]), tmp_path / "net.onnx"))
    made = [operator_from_name(name) for name, _ in graph.named_children() if name not in ("weights", "merged")]
    assert made[0] == "Conv"
    assert len(made) == 2
    assert made[1] in ("Activation", *KNOWN)
    weight = next(t for t in net.weights if len(t.dims) == 4)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = function(torch.conv2d(x, torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())))
    torch.testing.assert_close(graph(x), expected, rtol=1e-4, atol=1e-5)


def test_gates_by_another_tensor_and_shared_pieces_stay_apart(tmp_path: Path) -> None:
    """A squeeze-and-excitation gate depends on another tensor, and a sigmoid that is used twice is nobody's piece."""
    net = Net(("N", 3, 6, 6))
    x = net.conv("image", 3, 4)
    gated = net.add("Mul", x, net.add("Sigmoid", net.add("GlobalAveragePool", x)))
    z = net.conv("image", 3, 4)
    gate = net.add("Sigmoid", z)
    shared = net.add("Add", net.add("Mul", z, gate), net.add("GlobalAveragePool", gate))
    graph = ox.to_torch(save(net.model([net.add("Add", gated, shared)]), tmp_path / "net.onnx"))
    assert not [name for name, _ in graph.named_children() if operator_from_name(name) in ("Activation", *KNOWN)]


WIDTH, EPS = 8, 1e-3
AFFINE = np.random.default_rng(5).standard_normal((2, WIDTH)).astype(np.float32) + 1


def number(net: Net, x: str, axes: list[int], operator: str = "ReduceMean") -> str:
    return net.add(operator, x, axes=axes)


def moments(net: Net, x: str, axes: list[int]) -> tuple[str, str]:
    """The difference from the mean, and the variance with ε."""
    centred = net.add("Sub", x, number(net, x, axes))
    variance = number(net, net.add("Pow", centred, scalar(net, 2)), axes)
    return centred, net.add("Add", variance, scalar(net, EPS))


def affine(net: Net, x: str, shape: tuple[int, ...]) -> str:
    scaled = net.add("Mul", net.weight(AFFINE[0].reshape(shape)), x)
    return net.add("Add", scaled, net.weight(AFFINE[1].reshape(shape)))


def layer_norm_divided(net: Net, x: str) -> str:
    """PyTorch's TorchScript exporter below opset 17."""
    centred, variance = moments(net, x, [-1])
    return affine(net, net.add("Div", centred, net.add("Sqrt", variance)), (WIDTH,))


def layer_norm_by_reciprocal(net: Net, x: str) -> str:
    """The square as a product of two differences, and 1/√ as an operator."""
    mean = number(net, x, [2])
    square = net.add("Mul", net.add("Sub", x, mean), net.add("Sub", x, mean))
    root = net.add("Sqrt", net.add("Add", scalar(net, EPS), number(net, square, [2])))
    return affine(net, net.add("Mul", net.add("Reciprocal", root), net.add("Sub", x, number(net, x, [2]))), (1, 1, WIDTH))


def layer_norm_of_tensorflow(net: Net, x: str) -> str:
    """`x · inverse + (bias − mean · inverse)`, the scale inside the inverse."""
    mean = number(net, x, [-1])
    variance = net.add("Sub", number(net, net.add("Mul", x, x), [-1]), net.add("Mul", mean, mean))
    inverse = net.add("Reciprocal", net.add("Sqrt", net.add("Add", variance, scalar(net, EPS))))
    scaled = net.add("Mul", inverse, net.weight(AFFINE[0]))
    rest = net.add("Sub", net.weight(AFFINE[1]), net.add("Mul", mean, scaled))
    return net.add("Add", net.add("Mul", x, scaled), rest)


def layer_norm_by_power(net: Net, x: str) -> str:
    """Keras: `−mean · inverse + bias`, with a power of −½ and a variance kept above zero."""
    mean = number(net, x, [-1])
    square = net.add("Pow", mean, scalar(net, 2))
    variance = net.add("Relu", net.add("Sub", number(net, net.add("Pow", x, scalar(net, 2)), [-1]), square))
    inverse = net.add("Pow", net.add("Add", variance, scalar(net, EPS)), scalar(net, -0.5))
    scaled = net.add("Mul", inverse, net.weight(AFFINE[0]))
    rest = net.add("Add", net.add("Mul", net.add("Neg", mean), scaled), net.weight(AFFINE[1]))
    return net.add("Add", net.add("Mul", x, scaled), rest)


def layer_norm_of_channels(net: Net, x: str) -> str:
    """Over the second axis of a channel-first tensor."""
    turned = net.add("Transpose", x, perm=[0, 2, 1])
    centred, variance = moments(net, turned, [1])
    made = net.add("Mul", centred, net.add("Div", scalar(net, 1), net.add("Sqrt", variance)))
    return net.add("Transpose", affine(net, made, (WIDTH, 1)), perm=[0, 2, 1])


def layer_norm_itself(net: Net, x: str) -> str:
    return net.add("LayerNormalization", x, net.weight(AFFINE[0]), net.weight(AFFINE[1]), axis=-1, epsilon=EPS)


def rms_norm_by_reciprocal(net: Net, x: str) -> str:
    square = number(net, net.add("Pow", x, scalar(net, 2)), [-1])
    inverse = net.add("Reciprocal", net.add("Sqrt", net.add("Add", square, scalar(net, EPS))))
    return net.add("Mul", net.weight(AFFINE[0]), net.add("Mul", x, inverse))


def rms_norm_divided(net: Net, x: str) -> str:
    root = net.add("Sqrt", net.add("Add", number(net, net.add("Mul", x, x), [2]), scalar(net, EPS)))
    return net.add("Mul", net.add("Div", x, root), net.weight(AFFINE[0]))


def softmax_plain(net: Net, x: str) -> str:
    raised = net.add("Exp", x)
    return net.add("Div", raised, net.add("ReduceSum", raised, net.weight(np.array([-1]))))


def softmax_lowered(net: Net, x: str) -> str:
    raised = net.add("Exp", net.add("Sub", x, number(net, x, [-1], "ReduceMax")))
    return net.add("Mul", net.add("Reciprocal", net.add("ReduceSum", raised, net.weight(np.array([-1])))), raised)


def group_norm(net: Net, x: str) -> str:
    """Groups of tokens, as PyTorch writes them: the shape is taken from the tensor."""
    groups = net.add("Reshape", x, net.weight(np.array([0, 4, -1])))
    made = net.add("InstanceNormalization", groups, net.weight(np.ones(4)), net.weight(np.zeros(4)), epsilon=EPS)
    made = net.add("Reshape", made, net.add("Shape", x))
    return net.add("Mul", made, net.weight(np.arange(1.0, 37).reshape(36, 1)))


def group_norm_to_a_stored_shape(net: Net, x: str) -> str:
    groups = net.add("Reshape", x, net.weight(np.array([0, 4, -1])))
    made = net.add("InstanceNormalization", groups, net.weight(np.ones(4)), net.weight(np.zeros(4)), epsilon=EPS)
    made = net.add("Reshape", made, net.weight(np.array([0, 36, WIDTH])))
    return net.add("Mul", made, net.weight(np.arange(1.0, 37).reshape(36, 1)))


def standardised(x: Tensor, axes: int | tuple[int, ...], centred: bool = True) -> Tensor:
    """The deviation is a constant to the gradient: AttnLRP, Achtibat et al. 2024, proposition 3.4."""
    x = x - x.mean(axes, keepdim=True) if centred else x
    return x / (x.detach().square().mean(axes, keepdim=True) + EPS).sqrt()


def layer_norm_twin(x: Tensor) -> Tensor:
    return standardised(x, -1) * torch.from_numpy(AFFINE[0]) + torch.from_numpy(AFFINE[1])


def rms_norm_twin(x: Tensor) -> Tensor:
    return standardised(x, -1, centred=False) * torch.from_numpy(AFFINE[0])


def group_norm_twin(x: Tensor) -> Tensor:
    return standardised(x.reshape(-1, 4, 9 * WIDTH), -1).reshape(x.shape) * torch.arange(1.0, 37)[:, None]


def softmax_twin(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)


STATISTICS: list[tuple[Write, str, Callable[[Tensor], Tensor]]] = [
    (layer_norm_itself, "LayerNormalization", layer_norm_twin),
    (layer_norm_divided, "LayerNormalization", layer_norm_twin),
    (layer_norm_by_reciprocal, "LayerNormalization", layer_norm_twin),
    (layer_norm_of_tensorflow, "LayerNormalization", layer_norm_twin),
    (layer_norm_by_power, "LayerNormalization", layer_norm_twin),
    (layer_norm_of_channels, "LayerNormalization", layer_norm_twin),
    (rms_norm_by_reciprocal, "RMSNormalization", rms_norm_twin),
    (rms_norm_divided, "RMSNormalization", rms_norm_twin),
    (softmax_plain, "Softmax", softmax_twin),
    (softmax_lowered, "Softmax", softmax_twin),
    (group_norm, "GroupNormalization", group_norm_twin),
    (group_norm_to_a_stored_shape, "GroupNormalization", group_norm_twin),
]


def tokens(net: Net) -> str:
    """36 tokens of WIDTH features."""
    z = net.add("Reshape", net.conv("image", 3, WIDTH), net.weight(np.array([0, WIDTH, 36])))
    return net.add("Transpose", z, perm=[0, 2, 1])


def operators(graph: torch.fx.GraphModule) -> Counter[str]:
    return Counter(str(node.target).rsplit("_", 1)[0] for node in graph.graph.nodes if node.op == "call_module")


def input_gradient(graph: Callable[[Tensor], Tensor], x: Tensor) -> np.ndarray:
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(graph(x).sum(), x)
    return gradient.numpy()


@pytest.mark.parametrize(("write", "name", "twin"), STATISTICS, ids=[write.__name__ for write, _, _ in STATISTICS])
def test_formulas_of_statistics_are_one_operator(
    tmp_path: Path, write: Write, name: str, twin: Callable[[Tensor], Tensor]
) -> None:
    """Nothing is left of the pieces, and AttnLRP's gradient is that of a twin in float64 whose deviation is a constant."""
    net = Net(("N", 3, 8, 8))
    made = net.add("MatMul", write(net, tokens(net)), net.random(WIDTH, 2))
    graph = ox.to_torch(save(net.model([made]), tmp_path / "net.onnx")).double()
    found = operators(graph)
    found["Transpose"] = found["Reshape"] = 0  # the frame's, and those around a formula of channels or groups
    assert +found == Counter(["Conv", "MatMul", name])
    kernel, weight = (t.double() for t in (stored(net, 4, 3), stored(net, 2, 2)))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = input_gradient(lambda x: twin(torch.conv2d(x, kernel).flatten(2).mT) @ weight, x)
    ours = input_gradient(apply_rules(graph, RULE_SETS["attnlrp"].with_(epsilon=1e-12)).graph, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def stored(net: Net, rank: int, last: int) -> Tensor:
    """The net's only weight of that rank and last size."""
    arrays = [onnx.numpy_helper.to_array(t) for t in net.weights]
    (found,) = (a for a in arrays if a.ndim == rank and a.shape[-1] == last)
    return torch.from_numpy(found.copy())


def shared_mean(net: Net, x: str) -> str:
    mean = number(net, x, [-1])
    centred = net.add("Sub", x, mean)
    variance = net.add("Add", number(net, net.add("Mul", centred, centred), [-1]), scalar(net, EPS))
    return net.add("Add", net.add("Div", centred, net.add("Sqrt", variance)), mean)


def spread_of_other_axes(net: Net, x: str) -> str:
    _, variance = moments(net, x, [1])
    return net.add("Div", net.add("Sub", x, number(net, x, [2])), net.add("Sqrt", variance))


def eps_outside_the_root(net: Net, x: str) -> str:
    centred = net.add("Sub", x, number(net, x, [-1]))
    root = net.add("Sqrt", number(net, net.add("Mul", centred, centred), [-1]))
    return net.add("Div", centred, net.add("Add", root, scalar(net, EPS)))


@pytest.mark.parametrize("write", [shared_mean, spread_of_other_axes, eps_outside_the_root])
def test_what_only_looks_like_a_formula_stays(tmp_path: Path, write: Write) -> None:
    """Behind a mean that is used elsewhere too, the rest is an RMS normalisation of the difference, which it may be called."""
    net = Net(("N", 3, 8, 8))
    found = operators(ox.to_torch(save(net.model([write(net, tokens(net))]), tmp_path / "net.onnx")))
    assert "LayerNormalization" not in found
    assert ("RMSNormalization" in found) is (write is shared_mean)


def test_scale_along_another_axis_is_left_outside(tmp_path: Path) -> None:
    """36 factors, one for each token: a product behind the normalisation."""
    net = Net(("N", 3, 8, 8))
    centred, variance = moments(net, tokens(net), [-1])
    made = net.add("Div", centred, net.add("Sqrt", variance))
    made = net.add("Mul", made, net.weight(np.arange(36.0).reshape(36, 1)))
    found = operators(ox.to_torch(save(net.model([made]), tmp_path / "net.onnx")))
    assert found["LayerNormalization"] == found["Mul"] == 1


ORT = "com.microsoft"
QKV = np.random.default_rng(7).standard_normal((2, 3 * WIDTH, WIDTH)).astype(np.float32) / 2
BIAS = np.random.default_rng(8).standard_normal(3 * WIDTH).astype(np.float32)


def projected(net: Net, x: str) -> list[str]:
    parts = [net.add("MatMul", x, net.weight(part)) for part in np.split(np.hstack(np.split(QKV[0], 3)), 3, 1)]
    return [net.add("Add", part, net.weight(bias)) for part, bias in zip(parts, np.split(BIAS, 3), strict=True)]


def headed(net: Net, x: str, perm: list[int]) -> str:
    return net.add("Transpose", net.add("Reshape", x, net.weight(np.array([0, 36, 2, 4]))), perm=perm)


def mask(net: Net) -> str:
    return net.weight(np.random.default_rng(9).standard_normal((1, 1, 36, 36)))


def attention_in_pieces(net: Net, x: str) -> str:
    q, k, v = projected(net, x)
    q, k, v = headed(net, q, [0, 2, 1, 3]), headed(net, k, [0, 2, 3, 1]), headed(net, v, [0, 2, 1, 3])
    scores = net.add("Add", net.add("Div", net.add("MatMul", q, k), scalar(net, 2)), mask(net))
    made = net.add("Transpose", net.add("MatMul", net.add("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
    return net.add("Reshape", made, net.weight(np.array([0, 36, WIDTH])))


def attention_of_the_standard(net: Net, x: str) -> str:
    return net.add("Attention", *projected(net, x), mask(net), q_num_heads=2, kv_num_heads=2)


def attention_by_head(net: Net, x: str) -> str:
    heads = [headed(net, part, [0, 2, 1, 3]) for part in projected(net, x)]
    made = net.add("Transpose", net.add("Attention", *heads, mask(net)), perm=[0, 2, 1, 3])
    return net.add("Reshape", made, net.weight(np.array([0, 36, WIDTH])))


def attention_of_the_runtime(net: Net, x: str) -> str:
    weight = net.weight(np.hstack(np.split(QKV[0], 3)))
    return net.add("Attention", x, weight, net.weight(BIAS), "", "", mask(net), domain=ORT, num_heads=2)


def multi_head_attention(net: Net, x: str) -> str:
    return net.add("MultiHeadAttention", *projected(net, x), "", "", mask(net), domain=ORT, num_heads=2)


def sum_and_norm(net: Net, x: str) -> str:
    bias = net.add("Add", x, net.weight(AFFINE[1]))
    total = net.add("Add", bias, net.add("MatMul", x, net.weight(QKV[0][:WIDTH])))
    made = net.add("LayerNormalization", total, *map(net.weight, AFFINE), axis=-1, epsilon=EPS)
    return net.add("Add", made, total)


def skip_layer_norm(net: Net, x: str) -> str:
    skip = net.add("MatMul", x, net.weight(QKV[0][:WIDTH]))
    given = [x, skip, *map(net.weight, AFFINE), net.weight(AFFINE[1])]
    net.nodes.append(onnx.helper.make_node("SkipLayerNormalization", given, ["y", "", "", "total"], domain=ORT, epsilon=EPS))
    return net.add("Add", "y", "total")


def biased_gelu(net: Net, x: str) -> str:
    return gelu_erf(net, net.add("Add", x, net.weight(AFFINE[1])))


def bias_gelu(net: Net, x: str) -> str:
    return net.add("BiasGelu", x, net.weight(AFFINE[1]), domain=ORT)


def fast_gelu(net: Net, x: str) -> str:
    return net.add("FastGelu", x, domain=ORT)


def gelu(net: Net, x: str) -> str:
    return net.add("Gelu", x, approximate="tanh")


def quick_gelu(net: Net, x: str) -> str:
    return net.add("QuickGelu", x, domain=ORT, alpha=1.0)


def dense_relu(net: Net, x: str) -> str:
    return net.add("Relu", net.add("Gemm", flat(net, x), net.weight(QKV[0][:WIDTH]), net.weight(AFFINE[1])))


def fused_gemm(net: Net, x: str) -> str:
    given = (flat(net, x), net.weight(QKV[0][:WIDTH]), net.weight(AFFINE[1]))
    return net.add("FusedGemm", *given, domain=ORT, activation="Relu")


def flat(net: Net, x: str) -> str:
    return net.add("ReduceMean", x, net.weight(np.array([1])), keepdims=0)


MERGED: list[tuple[Write, Write]] = [
    (attention_of_the_standard, attention_in_pieces),
    (attention_by_head, attention_in_pieces),
    (attention_of_the_runtime, attention_in_pieces),
    (multi_head_attention, attention_in_pieces),
    (skip_layer_norm, sum_and_norm),
    (bias_gelu, biased_gelu),
    (fast_gelu, gelu_tanh),
    (gelu, gelu_tanh),
    (quick_gelu, silu),
    (fused_gemm, dense_relu),
]


@pytest.mark.parametrize("rules", ["elrp", "attnlrp", "lrp-gamma"])
@pytest.mark.parametrize(("merged", "pieces"), MERGED, ids=[merged.__name__ for merged, _ in MERGED])
def test_merged_operators_give_the_maps_of_their_pieces(tmp_path: Path, merged: Write, pieces: Write, rules: str) -> None:
    found, unruled = [], []
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for write in (merged, pieces):
        net = Net(("N", 3, 8, 8))
        z = tokens(net)
        made = net.add("MatMul", write(net, z), net.weight(np.linspace(-1, 2, 2 * WIDTH).reshape(WIDTH, 2)))
        ruled = apply_rules(ox.to_torch(save(net.model([made], opset=23), tmp_path / "net.onnx")), rules)
        unruled.append({name: count for name, count in ruled.fallback.items() if name != "AttentionInputs"})
        found.append(input_gradient(ruled.graph, x))
    assert unruled[0] == unruled[1]
    assert worst_cosine(*found) >= 0.9999


def test_a_row_without_keys_stays_zero(tmp_path: Path) -> None:
    """ONNX Runtime gives zeros where a mask allows nothing; so does its gradient."""
    net = Net(("N", 3, 8, 8))
    allowed = np.ones((36, 36), bool)
    allowed[3] = False
    z = tokens(net)
    made = net.add("Attention", z, z, z, net.weight(allowed), q_num_heads=2, kv_num_heads=2)
    graph = ox.to_torch(save(net.model([made], opset=23), tmp_path / "net.onnx"))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not graph(x)[:, 3].any()
    assert np.isfinite(input_gradient(graph, x)).all()


def test_support_tells_the_fused_from_the_written_out(tmp_path: Path) -> None:
    """Sums of a normalisation and of a bias are fused whatever is written out beside them; that is converted."""
    net = Net(("N", 3, 8, 8))
    made = multi_head_attention(net, layer_norm_divided(net, tokens(net)))
    path = save(net.model([net.add("MatMul", made, net.random(WIDTH, 2))]), tmp_path / "net.onnx")
    found = {(row.operator, row.way): row.count for row in list_support(ox.open_model(path))}
    assert {name: count for (name, way), count in found.items() if way == "fused"} == {
        "ReduceMean": 2, "Sub": 1, "Pow": 1, "Add": 5, "Sqrt": 1, "Div": 1, "Mul": 1
    }  # fmt: skip
    assert found["com.microsoft::MultiHeadAttention", "onnxspace"] == 1
