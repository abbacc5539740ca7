"""AttnLRP: a transformer block against its twin, what it conserves, and operators that are several in one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from torch import Tensor, nn

import onnxspace as ox
from onnxspace.attribution.lrp import RULE_SETS, apply_rules
from tests.helpers.nets import Net
from tests.oracles.attnlrp import Block, relevance

Array = NDArray[np.float64]
TOKENS, SIZE, HIDDEN = 5, 6, 8


def block(seed: int = 1, shift: float = 0.3) -> Block:
    rng = np.random.default_rng(seed)

    def values(*shape: int, scale: float = 0.5) -> Array:
        return (rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)

    squares = [values(SIZE, SIZE) for _ in range(4)]
    scales, shifts = [1 + values(SIZE) for _ in range(2)], [values(SIZE, scale=shift) for _ in range(2)]
    up, bias, down = values(SIZE, HIDDEN), values(HIDDEN, scale=shift), values(HIDDEN, SIZE)
    return Block((scales[0], scales[1]), (shifts[0], shifts[1]), *squares, up, bias, down)


def network(b: Block, fused: bool) -> onnx.ModelProto:
    """The block; attention in pieces or as one operator of opset 23."""
    net = Net(("N", TOKENS, SIZE))

    def norm(x: str, i: int) -> str:
        return net.add("LayerNormalization", x, net.weight(b.scale[i]), net.weight(b.shift[i]), epsilon=b.eps)

    x = norm("image", 0)
    q, k, v = (net.add("MatMul", x, net.weight(w)) for w in (b.query, b.key, b.value))
    if fused:
        mixed = net.add("Attention", q, k, v, q_num_heads=1, kv_num_heads=1)
    else:
        scores = net.add("MatMul", q, net.add("Transpose", k, perm=[0, 2, 1]))
        scores = net.add("Div", scores, net.weight(np.array(np.sqrt(SIZE))))
        mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), v)
    y = net.add("Add", "image", net.add("MatMul", mixed, net.weight(b.out)))
    hidden = net.add("Add", net.add("MatMul", norm(y, 1), net.weight(b.up)), net.weight(b.up_bias))
    return net.model([net.add("Add", y, net.add("MatMul", net.add("Gelu", hidden), net.weight(b.down)))], opset=23)


def found(model: onnx.ModelProto, x: Array, rules: Any = "attnlrp") -> Array:
    ruled = apply_rules(ox.to_torch(model).double(), rules)
    data = torch.from_numpy(x[None]).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(ruled.graph(data).sum(), data)
    return (gradient * data)[0].detach().numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("fused", [False, True], ids=["pieces", "operator"])
def test_a_block_equals_its_twin(fused: bool) -> None:
    x = np.random.default_rng(3).standard_normal((TOKENS, SIZE))
    expected = relevance(x, block())
    exact = RULE_SETS["attnlrp"].with_(epsilon=1e-12)
    np.testing.assert_allclose(found(network(block(), fused), x, exact), expected, rtol=1e-6, atol=1e-8)
    made = found(network(block(), fused), x)
    assert (made * expected).sum() / np.linalg.norm(made) / np.linalg.norm(expected) > 0.99999


def test_without_biases_all_but_the_softmax_conserves_relevance() -> None:
    """The softmax's rule keeps back what its scores do not explain; with attention's output zero, everything arrives."""
    b = block(shift=0.0)
    b = Block(b.scale, b.shift, b.query, b.key, b.value, np.zeros_like(b.out), b.up, b.up_bias, b.down)
    x = np.random.default_rng(3).standard_normal((TOKENS, SIZE))
    model = network(b, False)
    total = float(ox.to_torch(model).double()(torch.from_numpy(x[None])).sum())
    assert found(model, x).sum() == pytest.approx(total, rel=1e-4)


NORMS: dict[str, tuple[list[float], dict[str, Any]]] = {
    "LayerNormalization": ([1.5, -0.5, 1, 2, 0.3, 1], {}),
    "RMSNormalization": ([1.5, -0.5, 1, 2, 0.3, 1], {}),
    "GroupNormalization": ([1.5, -0.5, 1, 2], {"num_groups": 2}),
    "InstanceNormalization": ([1.5, -0.5, 1, 2], {}),
    "LpNormalization": ([], {"axis": 1}),
    "MeanVarianceNormalization": ([], {}),
    "LRN": ([], {"size": 3, "alpha": 0.5}),
}


@pytest.mark.parametrize("operator", NORMS)
def test_normalisations_conserve_relevance(operator: str) -> None:
    """Held statistics make a normalisation linear without a bias: what comes in is what goes out."""
    net = Net(("N", 4, 5, 6))
    scale, attributes = NORMS[operator]
    names = [net.weight(np.array(scale))] if scale else []
    if operator in ("GroupNormalization", "InstanceNormalization"):
        names.append(net.weight(np.zeros(4)))
    weighted = net.add("Mul", net.add(operator, "image", *names, **attributes), net.random(4, 5, 6))
    model = net.model([weighted], opset=23)
    x = np.random.default_rng(0).standard_normal((4, 5, 6))
    graph = ox.to_torch(model).double()
    made = found(model, x)
    assert made.sum() == pytest.approx(float(graph(torch.from_numpy(x[None])).sum()), rel=1e-5)
    data = torch.from_numpy(x[None]).requires_grad_(True)
    np.testing.assert_allclose(apply_rules(graph, "attnlrp").graph(data).detach(), graph(data).detach(), rtol=1e-5, atol=1e-6)
    plain = (torch.autograd.grad(graph(data).sum(), data)[0] * data).sum()
    assert operator == "LRN" or abs(float(plain.detach())) < 1e-3


def test_gates_give_half_to_each_factor() -> None:
    """x · sigmoid(y) is a product of two computed tensors, and so is SwiGLU; relevance is kept."""
    net = Net(("N", 2, 3, 3))
    gate, value = net.conv("image", 2, 4, 1), net.conv("image", 2, 4, 1)
    model = net.model([net.add("Mul", gate, value)], opset=20)
    x = np.random.default_rng(0).standard_normal((2, 3, 3))
    graph = ox.to_torch(model).double()
    assert found(model, x).sum() == pytest.approx(float(graph(torch.from_numpy(x[None])).sum()), rel=1e-4)
    doubled = found(model, x, "lrp-epsilon").sum()
    assert doubled == pytest.approx(2 * found(model, x).sum(), rel=1e-3)


@pytest.mark.parametrize("way", ["MatMul", "Einsum", "Gemm", "Conv"])
def test_a_product_of_computed_tensors_is_halved_however_it_is_written(way: str) -> None:
    net = Net((1, 4, 4))
    x = net.add("Reshape", "image", net.weight(np.array([4, 4] if way != "Conv" else [4, 4, 1, 1])))
    y = net.add("Transpose", x, perm=[1, 0] if way != "Conv" else [1, 0, 2, 3])
    attributes: dict[str, Any] = {"Einsum": {"equation": "ij,jk->ik"}}.get(way, {})
    bias = [net.weight(np.zeros(4))] if way == "Gemm" else []
    model = net.model([net.add(way, x, y, *bias, **attributes)])
    x = np.random.default_rng(0).standard_normal((4, 4))
    total = float(ox.to_torch(model).double()(torch.from_numpy(x[None])).sum())
    assert found(model, x).sum() == pytest.approx(total)


def test_einsum_with_stored_weights_is_a_matrix_product() -> None:
    x, w = np.random.default_rng(0).standard_normal((5, 4)), np.random.default_rng(1).standard_normal((4, 3))
    maps = []
    for way in ("MatMul", "Einsum"):
        net = Net(("N", 5, 4))
        y = net.add(way, "image", net.weight(w), **({"equation": "nti,io->nto"} if way == "Einsum" else {}))
        maps.append(found(net.model([net.add("Relu", y)]), x, "lrp-alpha-beta"))
    np.testing.assert_allclose(*maps, rtol=1e-9)


class Quarter(nn.Module):
    """ONNX Runtime's packed attention, its projection included."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(SIZE, 3 * SIZE, dtype=torch.float64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.split(x @ self.weight, SIZE, -1)

        def less(t: Tensor, factor: float) -> Tensor:
            return t * factor + (t * (1 - factor)).detach()

        return torch.softmax(less(q, 0.25) @ less(k, 0.25).mT / SIZE**0.5, -1) @ less(v, 0.5)


def test_attention_of_onnx_runtime_has_its_products_halved() -> None:
    """Queries and keys are two products away from the output, values are one: a quarter, a quarter and a half of the gradient."""
    native = Quarter()
    net = Net(("N", TOKENS, SIZE))
    name = net.add("Attention", "image", net.weight(native.weight.float().numpy()), net.weight(np.zeros(3 * SIZE)), num_heads=1)
    net.nodes[-1].domain = "com.microsoft"
    model = net.model([name])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    native.weight.data = native.weight.float().double()
    x = np.random.default_rng(0).standard_normal((TOKENS, SIZE))
    data = torch.from_numpy(x[None]).requires_grad_(True)
    expected = (torch.autograd.grad(native(data).sum(), data)[0] * data)[0].detach().numpy()
    exact = RULE_SETS["attnlrp"].with_(epsilon=1e-12)
    np.testing.assert_allclose(found(model, x, exact), expected, rtol=1e-6, atol=1e-9)
