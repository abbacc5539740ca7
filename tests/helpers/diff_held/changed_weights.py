"""Held-back pairs of networks with other weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of

_OTHER = "/blocks/blocks.1"
_PARTS = ("query", "key", "value", "write", "up", "down")


def write_mobile() -> ModelProto:
    return write_kind("mobile")


def write_joined() -> ModelProto:
    return write_kind("joined")


def _swap_keys(model: ModelProto) -> ModelProto:
    made = more.swap_layers(model, f"{_OTHER}/key/MatMul", f"{_OTHER}/value/MatMul")
    return more.swap_layers(made, f"{_OTHER}/key/Add", f"{_OTHER}/value/Add", (0,))


def _swap_blocks(model: ModelProto) -> ModelProto:
    names = [f"{a}.0.{b}" for a in ("joined", "ups", "downs", "norms1", "norms2") for b in ("weight", "bias")]
    both = [(name, name.replace(".0.", ".2.")) for name in (*names, "writes.0.weight")]
    return more.exchange_named(model, *both)


def _adapt(model: ModelProto) -> ModelProto:
    for i in (0, 1):
        for part in ("query", "value"):
            model = edits.adapt(model, f"/blocks/blocks.{i}/{part}/MatMul", 2)
    return model


def _swap_queries(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values[24:48], values[:24], values[48:]])


def list_transformers() -> Iterator[tuple[str, Pair]]:
    """Attention: layers swapped, adapters merged."""
    tokens, at = nets.write_tokens, "/joined.0/MatMul"
    yield "key and value swapped", of(
        tokens, _swap_keys, "differ", "swapped", f"{_OTHER}/key/", f"{_OTHER}/value/",
        touched={f"{_OTHER}/{part}/{op}" for part in ("key", "value") for op in ("MatMul", "Add")})  # fmt: skip
    yield "queries and keys of a joined product swapped", of(
        write_joined, lambda m: more.change_named(m, _swap_queries, "joined.0.weight", "joined.0.bias"), "differ",
        "channels-permuted", "/joined.0/", touched={at, "/joined.0/Add"})  # fmt: skip
    yield "blocks of a joined transformer swapped", of(
        write_joined, _swap_blocks, "differ", "swapped",
        touched={n.name for n in write_joined().graph.node if n.name.split("/")[1][-2:] in (".0", ".2")})  # fmt: skip
    yield "matrix clipped", of(
        tokens, lambda m: edits.change_of(m, f"{_OTHER}/down/MatMul", lambda w: np.clip(w, -0.2, 0.2)), "differ", "weights-clipped",
        f"{_OTHER}/down/MatMul", touched=f"{_OTHER}/down/MatMul")  # fmt: skip
    yield "head negated", of(
        write_joined, lambda m: more.change_named(m, lambda w: -w, "head.weight"), "differ", "scaled", "-1", "/head/Gemm",
        touched="/head/Gemm")  # fmt: skip
    yield "adapter merged in both blocks", of(
        tokens, _adapt, "differ", "adapted", "rank 2",
        touched={f"/blocks/blocks.{i}/{part}/MatMul" for i in (0, 1) for part in ("query", "value")})  # fmt: skip


def list_norms() -> Iterator[tuple[str, Pair]]:
    """Parameters of normalisations."""
    third, last, first = f"{_OTHER}/norm3/BatchNormalization", "/6/bn2/BatchNormalization", "/4/bn1/BatchNormalization"
    yield "scale and shift exchanged", of(
        write_mobile, lambda m: more.exchange_inputs(m, third, 1, 2), "differ", "exchanged", "scale", "shift", touched=third)  # fmt: skip
    yield "scale of a last norm is zero", of(
        pairs.base, lambda m: edits.change_of(m, last, lambda w: w * 0, 1), "differ",
        {"pruned", "trained", "scaled", "edited", "statistics", "other-weights"}, "/6/bn2", touched=last)  # fmt: skip
    yield "variances scaled", of(
        pairs.base, lambda m: edits.change_of(m, first, lambda w: w * 4, 4), "differ", {"statistics", "scaled"}, "/4/bn1", touched=first)  # fmt: skip


def list_layers() -> Iterator[tuple[str, Pair]]:
    """Single layers."""
    cut = {"blocks.0.depth.weight": f"{BLOCK}/depth/Conv", "wide.weight": "/wide/Gemm"}
    yield "depthwise kernels mirrored", of(
        write_mobile, lambda m: more.change_named(m, lambda w: w[..., ::-1], "blocks.1.depth.weight"), "differ", "inputs-permuted",
        f"{_OTHER}/depth/Conv", touched=f"{_OTHER}/depth/Conv")  # fmt: skip
    yield "depthwise pruned", of(
        write_mobile, lambda m: more.change_named(m, lambda w: np.where(abs(w) < np.quantile(abs(w), 0.4), 0, w), *cut), "differ",
        "pruned", f"{BLOCK}/depth/Conv", touched=set(cut.values()))  # fmt: skip
    yield "transposed convolution on a grid", of(
        lambda: write_kind("decoder"), lambda m: more.change_named(m, lambda w: np.round(w * 50) / 50, "up1.weight"), "differ",
        "requantised", "/up1/ConvTranspose", touched="/up1/ConvTranspose")  # fmt: skip
    yield "colours of a stem reversed", of(
        write_mobile, lambda m: more.change_named(m, lambda w: w[:, ::-1], "stem.weight"), "differ", "inputs-permuted", "/stem/Conv",
        touched="/stem/Conv")  # fmt: skip
    yield "more classes, drawn anew", of(
        write_joined, lambda m: edits.resize_head(m, 37, kept=False), "differ", "resized", "10 → 37", touched="/head/Gemm")  # fmt: skip


def _train_last(model: ModelProto) -> ModelProto:
    for part in _PARTS:
        model = edits.change_of(model, f"{_OTHER}/{part}/MatMul", lambda w: w + 0.05 * edits.draw(w))
    return model


def _train_matrices(model: ModelProto) -> ModelProto:
    names = [one.name for one in model.graph.initializer if one.name.endswith("weight") and len(one.dims) > 1]
    return more.train_named(model, *names, share=0.02)


def list_trained() -> Iterator[tuple[str, Pair]]:
    """Layers that were trained further, and recurrent ones."""

    def make() -> ModelProto:
        return write_kind("recurrent")

    names = [f"long.{name}_l0" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    yield "GRU trained", of(
        make, lambda m: more.train_named(m, "short.weight_hh_l0", share=0.2), "differ", "trained", "/short/GRU", touched="/short/GRU")  # fmt: skip
    yield "directions of an LSTM swapped", of(
        make, lambda m: more.exchange_named(m, *((name, f"{name}_reverse") for name in names)), "differ",
        {"channels-permuted", "swapped"}, "/long/LSTM", touched="/long/LSTM")  # fmt: skip
    yield "all layers trained by little", of(
        write_mobile, _train_matrices, "differ", "trained",
        touched={node.name for node in write_mobile().graph.node if node.op_type in ("Conv", "Gemm")})  # fmt: skip
    yield "only the last block trained", of(
        nets.write_tokens, _train_last, "differ", "trained", "6 of", touched={f"{_OTHER}/{part}/MatMul" for part in _PARTS})  # fmt: skip
