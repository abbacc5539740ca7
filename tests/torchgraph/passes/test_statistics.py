"""Norms and softmax that exporters write out are one operator again."""

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
from tests.helpers.nets import Net, save
from tests.helpers.written_out import (
    AFFINE,
    EPS,
    WIDTH,
    Write,
    affine,
    input_gradient,
    layer_norm_divided,
    moments,
    number,
    scalar,
    tokens,
)


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


def operators(graph: torch.fx.GraphModule) -> Counter[str]:
    return Counter(str(node.target).rsplit("_", 1)[0] for node in graph.graph.nodes if node.op == "call_module")


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
