"""The fused operators that ONNX Runtime's optimiser writes, against ONNX Runtime, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

import onnxspace.torchgraph.encoder_graph  # noqa: F401
from onnxspace.errors import UnsupportedOperatorError
from onnxspace.torchgraph.build import build
from tests.helpers.single import MICROSOFT, check, few, random, seeds, single


@few
@given(
    st.integers(1, 3),
    st.sampled_from(("", "Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip")),
    st.booleans(),
    st.booleans(),
    seeds,
)
def test_fused_conv(rank: int, activation: str, biased: bool, added: bool, seed: int) -> None:
    assume(not added or rank == 2)
    values: dict[str, Any] = {"x": random(seed, 2, 4, *[6] * rank), "w": random(seed + 1, 6, 2, *[3] * rank)}
    values["b"] = random(seed + 2, 6) if biased or added else None
    values["z"] = random(seed + 3, 2, 6, *[3] * rank) if added else None
    attributes: dict[str, Any] = {"group": 2, "strides": [2] * rank, "pads": [1] * rank + [0] * rank}
    if activation:
        attributes |= {
            "activation": activation,
            "activation_params": {"LeakyRelu": [0.2], "Clip": [-0.5, 0.7]}.get(activation, []),
        }
    attributes = {name: value for name, value in attributes.items() if value != []}
    check(
        "FusedConv",
        values,
        opset=17,
        domain=MICROSOFT,
        slopes="x w" if activation in ("", "Tanh", "Sigmoid") else "",
        **attributes,
    )


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Tanh"])
def test_fused_gemm(activation: str) -> None:
    values = {"a": random(0, 3, 2), "b": random(1, 4, 2), "c": random(2, 4)}
    attributes = {"transB": 1, "alpha": 0.5, "activation": activation}
    attributes |= {"activation_alpha": 0.3} if activation == "LeakyRelu" else {}
    check("FusedGemm", values, opset=17, domain=MICROSOFT, slopes="a b c", **attributes)


@few
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), seeds)
def test_fused_matmul(left: bool, right: bool, left_batch: bool, right_batch: bool, seed: int) -> None:
    def shaped(rows: int, columns: int, turned: bool, batch: bool, number: int) -> NDArray[np.float32]:
        first, second = (columns, rows) if turned else (rows, columns)
        return random(number, *((first, 2, second) if batch else (2, first, second)))

    values = {"a": shaped(3, 4, left, left_batch, seed), "b": shaped(4, 5, right, right_batch, seed + 1)}
    attributes = {"transA": left, "transB": right, "transBatchA": left_batch, "transBatchB": right_batch}
    numbers = {name: int(value) for name, value in attributes.items()}
    check("FusedMatMul", values, opset=17, domain=MICROSOFT, alpha=0.5, slopes="a b", **numbers)


@pytest.mark.parametrize("operator", ["Gelu", "QuickGelu", "FastGelu", "BiasGelu with a bias", "FastGelu with a bias"])
def test_fused_gelu(operator: str) -> None:
    operator, _, biased = operator.partition(" ")
    values = {"x": random(0, 2, 3, 4), "b": random(1, 4) if biased else None}
    check(operator, values, opset=17, domain=MICROSOFT, slopes="x b" if biased else "x")


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_skip_layer_normalization(offset: bool, biased: bool) -> None:
    values = {"x": random(0, 2, 3, 4), "k": random(1, 2, 3, 4), "s": random(2, 4), "beta": random(3, 4) if offset else None}
    values |= {"b": random(4, 4) if biased else None}
    check("SkipLayerNormalization", values, opset=17, domain=MICROSOFT, outputs=("y", "", "", "sum"), slopes="x k s")


@pytest.mark.parametrize("biased", [False, True])
def test_skip_simplified_layer_normalization(biased: bool) -> None:
    values = {"x": random(0, 2, 3, 4), "k": random(1, 2, 3, 4), "s": random(2, 4), "b": random(4, 4) if biased else None}
    check("SkipSimplifiedLayerNormalization", values, opset=17, domain=MICROSOFT, outputs=("y", "", "", "sum"), slopes="x k s")


def test_rotary_embedding_of_the_runtime_with_a_scale_is_refused() -> None:
    values = {"x": random(0, 2, 3, 5, 8), "ids": np.array([2]), "cos": random(1, 9, 4), "sin": random(2, 9, 4)}
    with pytest.raises(UnsupportedOperatorError, match="scale"):
        build(single("RotaryEmbedding", values, opset=17, domain=MICROSOFT, scale=0.5), "test")


def test_flex_attention_with_bodies() -> None:
    values = {"q": random(0, 2, 4, 3, 5), "k": random(1, 2, 2, 6, 5), "v": random(2, 2, 2, 6, 4)}
    inner = helper.make_tensor_value_info("s", onnx.TensorProto.FLOAT, None)
    outer = helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, None)
    bodies = {
        name: helper.make_graph([helper.make_node(operator, ["s"], ["r"])], name, [inner], [outer])
        for name, operator in (("score_mod", "Tanh"), ("prob_mod", "Sqrt"))
    }
    check("FlexAttention", values, opset=26, domain="ai.onnx.preview", reference=True, slopes="q k v", **bodies)


def test_simplified_layer_normalization() -> None:
    check("SimplifiedLayerNormalization", {"x": random(0, 2, 3, 4), "s": random(1, 4)}, opset=17, epsilon=1e-2, slopes="x s")


@pytest.mark.parametrize("full", [False, True])
def test_embed_layer_normalization(full: bool) -> None:
    rng = np.random.default_rng(0)
    ids, kinds = rng.integers(0, 9, (2, 5)).astype(np.int32), rng.integers(0, 2, (2, 5)).astype(np.int32)
    values: dict[str, Any] = {"ids": ids, "kinds": kinds if full else None, "words": random(0, 9, 4), "places": random(1, 7, 4)}
    values |= {"segments": random(2, 2, 4) if full else None, "s": random(3, 4), "b": random(4, 4)}
    values |= {"mask": (np.arange(5) < [[3], [5]]).astype(np.int32) if full else None}
    slopes = "words places s b"
    check("EmbedLayerNormalization", values, opset=17, domain=MICROSOFT, outputs=("y", "lengths"), slopes=slopes)


@few
@given(st.sampled_from(("none", "lengths", "keys", "queries")), st.booleans(), st.booleans(), st.booleans(), seeds)
def test_packed_attention(kind: str, causal: bool, past: bool, added: bool, seed: int) -> None:
    assume(not (past and added))
    before = 2 if past else 0
    total = 3 + before
    masks = {"none": None, "lengths": np.array([total, 2]), "keys": (np.arange(total) < [[total], [2]]) * 1}
    masks["queries"] = np.broadcast_to(np.arange(total) < total - 1, (2, 3, total)) * 1
    mask = masks[kind]
    values = {"x": random(seed, 2, 3, 8), "w": random(seed + 1, 8, 24), "b": random(seed + 2, 24)}
    values |= {"m": None if mask is None else mask.astype(np.int32)}
    values |= {
        "past": random(seed + 3, 2, 2, 2, before, 4) if past else None,
        "a": random(seed + 4, 2, 2, 3, total) if added else None,
    }
    attributes = {"num_heads": 2, "unidirectional": int(causal)}
    check("Attention", values, opset=17, domain=MICROSOFT, outputs=2 if past else 1, slopes="x w b", **attributes)


@few
@given(st.booleans(), st.booleans(), st.booleans(), st.sampled_from(("none", "lengths", "keys", "all")), st.booleans(), seeds)
def test_multi_head_attention(split: bool, causal: bool, biased: bool, kind: str, past: bool, seed: int) -> None:
    assume(not split or not past)
    keys = 3 if causal or past else 4  # the runtime lets the last query see everything
    total = keys + 2 * past
    masks = {"none": None, "lengths": np.array([total, 2]), "keys": (np.arange(total) < [[total], [2]]) * 1}
    masks["all"] = np.broadcast_to(np.arange(total) < total - 1, (2, 3, total)) * 1
    mask = masks[kind]
    values: dict[str, Any] = {"q": random(seed, 2, 3, 8)}
    shape = (2, 2, keys, 4) if split else (2, keys, 8)
    values |= {"k": random(seed + 1, *shape), "v": random(seed + 2, *shape)}
    values |= {"b": random(seed + 3, 24) if biased else None, "m": None if mask is None else mask.astype(np.int32)}
    values |= {"a": random(seed + 5, 1, 2, 3, total) if seed % 2 else None}
    values |= {name: random(seed + 4, 2, 2, 2, 4) if past else None for name in ("past_k", "past_v")}
    attributes = {"num_heads": 2, "unidirectional": int(causal)}
    check("MultiHeadAttention", values, opset=17, domain=MICROSOFT, outputs=3 if past else 1, slopes="q k v", **attributes)


@few
@given(st.booleans(), st.booleans(), st.booleans(), seeds)
def test_rotary_embedding_of_the_runtime(interleaved: bool, packed: bool, offset: bool, seed: int) -> None:
    x = random(seed, 2, 5, 24) if packed else random(seed, 2, 3, 5, 8)
    ids = np.array([2]) if offset else np.random.default_rng(seed).integers(0, 9, (2, 5))
    values = {"x": x, "ids": ids, "cos": random(seed + 1, 9, 4), "sin": random(seed + 2, 9, 4)}
    check("RotaryEmbedding", values, opset=17, domain=MICROSOFT, interleaved=int(interleaved), slopes="x")
