"""Operators that ONNX Runtime merges give the maps of their pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import onnxspace as ox
from onnxspace.attribution.lrp import apply_rules
from onnxspace.torchgraph.support import list_support
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.written_out import (
    AFFINE,
    EPS,
    WIDTH,
    Write,
    gelu_erf,
    gelu_tanh,
    input_gradient,
    layer_norm_divided,
    scalar,
    silu,
    tokens,
)

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
