"""Pairs of networks with other parameters of normalisations, or of recurrent layers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of

_OTHER = "/blocks/blocks.1"


def _write_mobile() -> ModelProto:
    return write_kind("mobile")


def _write_recurrent() -> ModelProto:
    return write_kind("recurrent")


def _reset(model: ModelProto) -> ModelProto:
    """All statistics of normalisations as before training."""
    names = [one.name for one in model.graph.initializer]
    made = more.change_named(model, lambda w: w * 0, *(name for name in names if "running_mean" in name))
    return more.change_named(made, lambda w: w * 0 + 1, *(name for name in names if "running_var" in name))


def list_norms() -> Iterator[tuple[str, Pair]]:
    """Parameters of normalisations."""
    at, other = "/5/bn1/BatchNormalization", f"{BLOCK}/norm2/BatchNormalization"
    yield "mean and shift exchanged", of(
        pairs.base, lambda m: more.exchange_inputs(m, at, 2, 3), "differ", "exchanged", "mean", "shift", at, touched=at)  # fmt: skip
    yield "scale and variance exchanged", of(
        _write_mobile, lambda m: more.exchange_inputs(m, other, 1, 4), "differ", "exchanged", "scale", "variance", touched=other)  # fmt: skip
    yield "scale and shift of a layer normalisation exchanged", of(
        lambda: write_kind("joined"), lambda m: more.exchange_inputs(m, "/norms1.1/LayerNormalization", 1, 2), "differ", "exchanged",
        "scale", "shift", touched="/norms1.1/LayerNormalization")  # fmt: skip
    yield "statistics as before training", of(
        _write_mobile, _reset, "differ", "statistics", "before training",
        touched={node.name for node in _write_mobile().graph.node if node.op_type == "BatchNormalization"})  # fmt: skip
    yield "scale 1 and shift 0", of(
        _write_mobile, lambda m: more.change_named(more.change_named(m, lambda w: w * 0 + 1, "blocks.1.norm1.weight"), lambda w: w * 0,
        "blocks.1.norm1.bias"), "differ", "neutral", f"{_OTHER}/norm1", touched=f"{_OTHER}/norm1/BatchNormalization")  # fmt: skip
    yield "only scale and shift trained", of(
        _write_mobile, lambda m: more.train_named(m, "blocks.1.norm1.weight", "blocks.1.norm1.bias"), "differ", "trained",
        f"{_OTHER}/norm1", touched=f"{_OTHER}/norm1/BatchNormalization")  # fmt: skip


def list_recurrent() -> Iterator[tuple[str, Pair]]:
    """Weights and settings of LSTM and GRU."""
    make, long, short = _write_recurrent, "/long/LSTM", "/short/GRU"
    for name, stored in (("LSTM trained", "long.weight_ih_l0"), ("states of an LSTM trained", "long.weight_hh_l0")):
        yield name, of(make, lambda m, s=stored: more.train_named(m, s), "differ", "trained", long, touched=long)
    yield "forget bias", of(
        make, lambda m: more.change_named(m, lambda w: w + (np.arange(64) // 16 == 1), "long.bias_ih_l0"), "differ", "bias", long,
        touched=long)  # fmt: skip
    yield "GRU with another reset", of(
        make, lambda m: edits.replace_attributes(m, short, linear_before_reset=0), "differ", "changed", "linear_before_reset",
        touched=short)  # fmt: skip
