"""Normalisation, attention, recurrent networks and losses against ONNX Runtime, with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import onnxspace.torchgraph.encoder_graph  # noqa: F401
from onnxspace.errors import UnsupportedOperatorError
from onnxspace.torchgraph.build import build
from tests.helpers.single import _COUNT, GATES, SMOOTH, _mask, _recurrent, check, few, random, seeds, shapes, single


@few
@given(shapes, st.data(), st.booleans(), st.integers(1, 3), seeds)
def test_layer_normalization(shape: tuple[int, ...], data: st.DataObject, biased: bool, outputs: int, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    inner = shape[axis % len(shape) :]
    assume(np.prod(inner) > 1)
    values = {"x": random(seed, *shape), "s": random(seed + 1, *inner), "b": random(seed + 2, *inner) if biased else None}
    check("LayerNormalization", values, opset=17, outputs=outputs, axis=axis, epsilon=1e-2, slopes="x s")


def test_layer_normalization_of_a_scale_that_broadcasts() -> None:
    values = {"x": random(0, 2, 3, 4), "s": random(1, 4), "b": random(2, 1, 4)}
    check("LayerNormalization", values, opset=17, axis=1, slopes="x s b", reference=True)


@few
@given(shapes, st.data(), seeds)
def test_rms_normalization(shape: tuple[int, ...], data: st.DataObject, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values = {"x": random(seed, *shape), "s": random(seed + 1, *shape[axis % len(shape) :])}
    check("RMSNormalization", values, opset=23, axis=axis, epsilon=1e-2, slopes="x s")


@few
@given(
    st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.sampled_from((18, 21)), seeds
)
def test_group_normalization(groups: int, size: int, space: list[int], opset: int, seed: int) -> None:
    count = groups if opset == 18 else groups * size
    values = {"x": random(seed, 2, groups * size, *space), "s": random(seed + 1, count), "b": random(seed + 2, count)}
    check("GroupNormalization", values, opset=opset, num_groups=groups, epsilon=1e-2, slopes="x s b")


@few
@given(st.lists(st.integers(1, 3), min_size=1, max_size=3), st.sampled_from((6, 22)), seeds)
def test_instance_normalization(space: list[int], opset: int, seed: int) -> None:
    values = {"x": random(seed, 2, 3, *space), "s": random(seed + 1, 3), "b": random(seed + 2, 3)}
    check("InstanceNormalization", values, opset=opset, epsilon=1e-2, slopes="x s b")


@few
@given(st.sampled_from((7, 9, 14, 15)), st.lists(st.integers(1, 3), max_size=3), st.booleans(), seeds)
def test_batch_normalization(opset: int, space: list[int], stored: bool, seed: int) -> None:
    values = {"x": random(seed, 2, 3, *space), "s": random(seed, 3), "b": random(seed + 2, 3)}
    values |= {"mean": random(seed + 3, 3), "var": np.abs(random(seed + 4, 3)) + np.float32(0.1)}
    kept = "s b mean var" if stored else ""
    check("BatchNormalization", values, opset=opset, stored=kept, slopes="x" if stored else "x s b mean var")


def test_batch_normalization_by_activation() -> None:
    sizes = {"s": 1, "b": 2, "mean": 3}
    values = {"x": random(0, 2, 3, 4), **{name: random(seed, 3, 4) for name, seed in sizes.items()}}
    values["var"] = np.abs(random(4, 3, 4)) + np.float32(0.1)
    check("BatchNormalization", values, opset=7, spatial=0, slopes="x mean")


@pytest.mark.parametrize(
    ("operator", "opset", "attributes"), [("BatchNormalization", 15, {"training_mode": 1}), ("Dropout", 6, {})]
)
def test_training_is_refused(operator: str, opset: int, attributes: dict[str, int]) -> None:
    values = {name: random(0, 2, 3) if name == "x" else random(1, 3) for name in ("x", "s", "b", "mean", "var")}
    chosen = values if operator == "BatchNormalization" else {"x": values["x"]}
    with pytest.raises(UnsupportedOperatorError, match="training"):
        build(single(operator, chosen, opset=opset, **attributes), "test")


@few
@given(shapes, st.data(), st.sampled_from((1, 2)), seeds)
def test_lp_normalization(shape: tuple[int, ...], data: st.DataObject, p: int, seed: int) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check("LpNormalization", {"x": random(seed, *shape)}, opset=1, axis=axis, p=p, slopes="x")


def test_normalisations_of_constants_are_zero_with_finite_gradients() -> None:
    for operator, attributes in (("LpNormalization", {}), ("MeanVarianceNormalization", {"axes": [1]})):
        value = np.zeros((2, 3), np.float32)
        graph = build(single(operator, {"x": value}, opset=13, **attributes), "test")
        x = torch.from_numpy(value).requires_grad_()
        graph(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()


@few
@given(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True), seeds)
def test_mean_variance_normalization(axes: list[int], seed: int) -> None:
    check("MeanVarianceNormalization", {"x": random(seed, 3, 4, 5, 6)}, opset=13, axes=axes, slopes="x")


@few
@given(st.sampled_from((1, 3, 5, 7)), st.integers(1, 6), seeds)
def test_lrn(size: int, channels: int, seed: int) -> None:
    values = {"x": random(seed, 2, channels, 2, 3)}
    check("LRN", values, opset=13, size=size, alpha=0.5, beta=0.6, bias=1.5, slopes="x")


def test_lrn_of_an_even_size_reaches_further_up() -> None:
    # The reference fills as many channels as there are images.
    check("LRN", {"x": random(0, 5, 5, 2, 3)}, opset=13, size=4, alpha=0.9, reference=True)


@few
@given(st.booleans(), st.sampled_from((1, 2)), st.integers(1, 4), st.integers(1, 4), st.sampled_from(("none", "bool", "float")),
       st.integers(2, 4), st.booleans(), st.sampled_from((0.0, 0.7)), st.sampled_from((23, 24)), seeds)  # fmt: skip
def test_attention(
    packed: bool, share: int, queries: int, keys: int, kind: str, rank: int, causal: bool, softcap: float, opset: int, seed: int
) -> None:
    heads, size, value_size = 2, 3, 5
    q, k, v = (
        random(seed, 2, heads * share, queries, size),
        random(seed + 1, 2, heads, keys, size),
        random(seed + 2, 2, heads, keys, value_size),
    )
    attributes: dict[str, Any] = {"is_causal": int(causal), "softcap": softcap}
    if packed:
        q, k, v = (np.ascontiguousarray(x.transpose(0, 2, 1, 3)).reshape(2, x.shape[2], -1) for x in (q, k, v))
        attributes |= {"q_num_heads": heads * share, "kv_num_heads": heads}
    mask = _mask(kind, (2, heads * share, queries, keys)[4 - rank :], seed + 3)
    check("Attention", {"q": q, "k": k, "v": v, "m": mask}, opset=opset, slopes="q k v", **attributes)


@pytest.mark.parametrize("mode", range(4))
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_cache(mode: int, causal: int) -> None:
    values = {"q": random(0, 2, 4, 3, 6), "k": random(1, 2, 2, 3, 6), "v": random(2, 2, 2, 3, 5), "m": random(3, 3, 7)}
    values |= {"past_k": random(4, 2, 2, 4, 6), "past_v": random(5, 2, 2, 4, 5)}
    attributes = {"qk_matmul_output_mode": mode, "is_causal": causal if mode != 2 else 0, "scale": 0.3}
    check("Attention", values, opset=23, outputs=4, slopes="q k v m past_k past_v", **attributes)


@few
@given(st.integers(1, 3), st.integers(-1, 2), st.integers(-1, 2), st.booleans(), st.booleans(), seeds)
def test_attention_within_a_window(queries: int, left: int, right: int, causal: bool, cached: bool, seed: int) -> None:
    values = {"q": random(seed, 2, 2, queries, 4), "k": random(seed + 1, 2, 2, 5, 4), "v": random(seed + 2, 2, 2, 5, 4)}
    lengths = np.random.default_rng(seed).integers(0, 6, 2) if cached else None
    every = {**values, "m": None, "past_k": None, "past_v": None, "n": lengths}
    attributes = {"left_window_size": left, "right_window_size": right, "is_causal": int(causal)}
    check("Attention", every, opset=25, slopes="q k v", reference=True, **attributes)


def test_a_query_without_keys_has_finite_gradients() -> None:
    values = {"q": random(0, 1, 1, 2, 3), "k": random(1, 1, 1, 2, 3), "v": random(2, 1, 1, 2, 3)}
    mask = np.array([[False, False], [True, False]])
    check("Attention", {**values, "m": mask}, opset=25, slopes="q k v", reference=True)


@few
@given(st.booleans(), st.booleans(), st.booleans(), st.booleans(), seeds)
def test_rotary_embedding(packed: bool, partial: bool, interleaved: bool, places: bool, seed: int) -> None:
    x = random(seed, 2, 5, 3 * 8) if packed else random(seed, 2, 3, 5, 8)
    pairs = 2 if partial else 4
    shape = (9, pairs) if places else (2, 5, pairs)
    ids = np.random.default_rng(seed).integers(0, 9, (2, 5)) if places else None
    values = {"x": x, "cos": random(seed + 1, *shape), "sin": random(seed + 2, *shape), "ids": ids}
    attributes = {
        "interleaved": int(interleaved),
        "rotary_embedding_dim": 2 * pairs if partial else 0,
        "num_heads": 3 if packed else 0,
    }
    check("RotaryEmbedding", values, opset=23, slopes="x", **attributes)


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize("past", [False, True])
def test_linear_attention(rule: str, past: bool) -> None:
    values: dict[str, Any] = {"q": random(0, 2, 5, 4 * 3), "k": random(1, 2, 5, 2 * 3) / 2, "v": random(2, 2, 5, 2 * 4)}
    values |= {"past": random(3, 2, 2, 3, 4) if past else None}
    values |= {"decay": -np.abs(random(4, 2, 5, 2 * 3)) if "gated" in rule else None}
    values |= {"beta": 1 / (1 + np.exp(random(5, 2, 5, 1))) if "delta" in rule else None}
    heads = {"q_num_heads": 4, "kv_num_heads": 2, "update_rule": rule}
    check("LinearAttention", values, opset=27, outputs=2, slopes="q k v", reference=True, **heads)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(tuple(GATES)), st.sampled_from(("forward", "reverse", "bidirectional")), st.booleans(), st.booleans(),
       st.booleans(), st.booleans(), st.booleans(), seeds)  # fmt: skip
def test_recurrent(
    operator: str, direction: str, biased: bool, lengths: bool, started: bool, peepholes: bool, option: bool, seed: int
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    values = _recurrent(operator, directions, seed, biased=biased, lengths=lengths, started=started)
    attributes: dict[str, Any] = {"direction": direction, "hidden_size": 2}
    if operator == "LSTM":
        values["c"] = random(seed + 5, directions, 3, 2) if started else None
        values["p"] = random(seed + 6, directions, 6) if peepholes else None
        attributes["input_forget"] = int(option)
    elif operator == "GRU":
        attributes["linear_before_reset"] = int(option)
    slopes = "x w r" + " b" * biased + " h" * started
    check(operator, values, opset=14, outputs=3 if operator == "LSTM" else 2, slopes=slopes, **attributes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(tuple(GATES)), st.data(), st.booleans(), st.sampled_from((None, 0.3, 1.0)), seeds)
def test_recurrent_activations(operator: str, data: st.DataObject, both: bool, clip: float | None, seed: int) -> None:
    directions = 2 if both else 1
    count = _COUNT[operator] * directions
    names = data.draw(st.lists(st.sampled_from(SMOOTH), min_size=count, max_size=count))
    attributes: dict[str, Any] = {"direction": "bidirectional" if both else "forward", "hidden_size": 2, "activations": names}
    attributes["activation_alpha"] = [0.3 + 0.1 * index for index in range(count)]
    attributes["activation_beta"] = [0.2 + 0.1 * index for index in range(count)]
    if clip is not None:
        attributes["clip"] = clip
    values = _recurrent(operator, directions, seed, biased=True, lengths=False, started=True)
    check(operator, values, opset=14, outputs=2, **attributes)


@pytest.mark.parametrize("operator", list(GATES))
def test_recurrent_of_batches_first(operator: str) -> None:
    values = _recurrent(operator, 1, 3, biased=True, lengths=False, started=True)
    values |= {name: np.ascontiguousarray(values[name].swapaxes(0, 1)) for name in "xh"}
    check(operator, values, opset=14, outputs=2, layout=1, hidden_size=2, slopes="x h", reference=True)


def test_unknown_activation_is_refused() -> None:
    values = _recurrent("RNN", 1, 0, biased=False, lengths=False, started=False)
    with pytest.raises(UnsupportedOperatorError, match="Cube"):
        build(single("RNN", values, opset=14, hidden_size=2, activations=["Cube"]), "test")


@few
@given(
    st.sampled_from(("mean", "sum", "none")),
    st.lists(st.integers(1, 3), max_size=3),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    seeds,
)
def test_losses(reduction: str, space: list[int], weighted: bool, ignores: bool, scores: bool, seed: int) -> None:
    classes = 4
    target = np.random.default_rng(seed).integers(0, classes, (3, *space))
    attributes: dict[str, Any] = {"reduction": reduction}
    if ignores:
        attributes["ignore_index"] = 2 if seed % 2 else -5
        target[0] = attributes["ignore_index"]
        target[1] = 1
    weight = np.abs(random(seed + 1, classes)) + np.float32(0.1) if weighted else None
    values = {"x": random(seed, 3, classes, *space), "t": target, "w": weight}
    operator, outputs = ("SoftmaxCrossEntropyLoss", 2) if scores else ("NegativeLogLikelihoodLoss", 1)
    check(operator, values, opset=13, outputs=outputs, slopes="x w" if weighted else "x", **attributes)


@few
@given(st.sampled_from((7, 9, 11, 13)), st.booleans(), st.booleans(), st.sampled_from(((), (1,), (4,), (1, 4), (3, 1), (3, 4))),
       st.sampled_from((1.0, 0.5)), st.sampled_from((1.0, 0.0, -2.0)), seeds)  # fmt: skip
def test_gemm(opset: int, left: bool, right: bool, shape: tuple[int, ...], alpha: float, beta: float, seed: int) -> None:
    a, b = random(seed, *((2, 3) if left else (3, 2))), random(seed + 1, *((4, 2) if right else (2, 4)))
    values = {"a": a, "b": b, "c": random(seed + 2, *shape)}
    attributes = {"transA": int(left), "transB": int(right), "alpha": alpha, "beta": beta}
    check("Gemm", values, opset=opset, slopes="a b c", **attributes)


def test_gemm_without_an_addend() -> None:
    check("Gemm", {"a": random(0, 3, 2), "b": random(1, 2, 4)}, opset=11, alpha=0.5, slopes="a b")


@few
@given(
    st.sampled_from((((3,), (3,)), ((2, 3), (3,)), ((3,), (2, 3, 4)), ((2, 1, 3, 4), (5, 4, 2)))),
    st.sampled_from("fiuU"),
    seeds,
)
def test_matmul(pair: tuple[tuple[int, ...], tuple[int, ...]], kind: str, seed: int) -> None:
    a, b = (random(seed + index, *shape) for index, shape in enumerate(pair))
    if kind == "f":
        check("MatMul", {"a": a, "b": b}, opset=13, slopes="a b")
        return
    dtype = {"i": np.int32, "u": np.uint32, "U": np.uint64}[kind]
    check("MatMul", {"a": np.abs(a * 4).astype(dtype), "b": np.abs(b * 4).astype(dtype)}, opset=13)


def test_det() -> None:
    check("Det", {"x": random(0, 2, 3, 4, 4)}, opset=11, slopes="x")


@pytest.mark.parametrize("opset", [12, 13, 22])
def test_dropout_out_of_training(opset: int) -> None:
    values = {"x": random(0, 2, 3), "ratio": np.float32(0.5).reshape(()), "t": np.array(False)}
    check("Dropout", values, opset=opset, outputs=2, stored="ratio t", slopes="x")
