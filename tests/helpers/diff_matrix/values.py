"""Pairs of networks whose weights were limited, rounded, scaled, turned or negated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.pair import ALL_LAYERS, BLOCK, Pair, of

Array = NDArray[Any]
_CONV = "/5/conv2/Conv"


def _of_layer(change: Callable[[Array], Array], kinds: set[str] | str, *says: str) -> Pair:
    """A pair of which one convolution is another one."""
    return of(pairs.base, lambda m: edits.change_of(m, _CONV, change), "differ", kinds, _CONV, *says, touched=_CONV)


def _of_mobile(change: Callable[[Array], Array], kinds: set[str] | str, name: str, at: str) -> Pair:
    """A pair of which one stored tensor is another one."""
    return of(lambda: write_kind("mobile"), lambda m: more.change_named(m, change, name), "differ", kinds, at, touched=at)


def round_to_unsigned(values: Array) -> Array:
    """Weights as unsigned integers of eight bits stand for, with a step and a zero per channel."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    steps = ((rows.max(1) - rows.min(1)) / 255)[:, None]
    zeros = np.round(-rows.min(1, keepdims=True) / steps)
    return np.asarray(((np.clip(np.round(rows / steps) + zeros, 0, 255) - zeros) * steps).reshape(values.shape))


def list_limits() -> Iterator[tuple[str, Pair]]:
    """Weights that were limited to a range, or rounded."""
    yield "weights limited", _of_layer(lambda w: np.clip(w, -1.2 * w.std(), 1.2 * w.std()), "weights-clipped")
    yield "all weights limited", of(
        pairs.base, lambda m: edits.round_all(m, lambda w: np.clip(w, -0.15, 0.15)), "differ", "weights-clipped", "3 of 16",
        touched=ALL_LAYERS)  # fmt: skip
    yield "rounded to multiples", _of_layer(lambda w: np.round(w * 64) / 64, "requantised", "multiples of 0.0156")
    yield "rounded to unsigned integers per channel and back", of(
        pairs.base, lambda m: edits.round_all(m, round_to_unsigned), "differ", "requantised", touched=ALL_LAYERS)  # fmt: skip
    yield "four bits and back", _of_mobile(
        lambda w: np.round(w / (np.abs(w).max() / 7)) * (np.abs(w).max() / 7), "requantised", "blocks.0.project.weight",
        f"{BLOCK}/project/Conv")  # fmt: skip


def list_factors() -> Iterator[tuple[str, Pair]]:
    """Weights that were multiplied, negated, turned or set to 0."""
    up, write = f"{BLOCK}/up/MatMul", f"{BLOCK}/write/MatMul"
    yield "scaled per channel", _of_layer(lambda w: w * np.linspace(0.8, 1.3, 20).reshape(-1, 1, 1, 1), "scaled")
    yield "negated", _of_layer(lambda w: -w, "scaled", "by -1")
    yield "channels set to zero", _of_layer(lambda w: w * (np.arange(20) % 3 > 0).reshape(-1, 1, 1, 1), "pruned")
    yield "kernels turned", _of_layer(lambda w: w.swapaxes(2, 3), {"inputs-permuted", "transposed"})
    yield "signs of some channels", of(
        nets.write_tokens, lambda m: edits.change_of(m, up, lambda w: w * np.where(np.arange(w.shape[1]) % 2, 1, -1)), "differ",
        "scaled", "-1", touched=up)  # fmt: skip
    yield "square layer transposed", of(
        nets.write_tokens, lambda m: edits.change_of(m, write, lambda w: w.T), "differ", "transposed", write, touched=write)  # fmt: skip
    yield "bias negated", _of_mobile(lambda w: -w, "bias", "wide.bias", "/wide/Gemm")


def list_decoder() -> Iterator[tuple[str, Pair]]:
    """Layers of a decoder, of which some read several others."""

    def make() -> ModelProto:
        return write_kind("decoder")

    def shuffle(model: ModelProto) -> ModelProto:
        return edits.reorder_nodes(more.train_named(model, "join1.weight"))

    yield "transposed convolution trained", of(
        make, lambda m: more.train_named(m, "up1.weight"), "differ", "trained", "/up1", touched="/up1/ConvTranspose")  # fmt: skip
    yield "decoder trained, in another order", of(make, shuffle, "differ", "trained", "/join1", touched="/join1/Conv")
    yield "operands of a concatenation exchanged", of(
        make, lambda m: more.exchange_inputs(m, "/Concat", 0, 1), "differ", "changed", "/Concat", touched="/Concat")  # fmt: skip
