"""Pairs of networks with other weights at the same places: trained, pruned, edited, resized."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import ALL_LAYERS, BLOCK, Pair, of


def list_trained() -> Iterator[tuple[str, Pair]]:
    """Weights that were trained further, all or some, and biases."""
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    head, conv, up = "/9/Gemm", "/5/conv2/Conv", f"{BLOCK}/up/MatMul"
    yield "one layer trained", of(base, pairs.train, "differ", "trained", conv, touched=conv)
    yield "one layer trained by a thousandth", of(base, lambda m: pairs.train(m, size=1e-3), "differ", "trained", touched=conv)
    yield "all layers trained", of(base, edits.train_all, "differ", "trained", "9 of 16 layers", touched=ALL_LAYERS)
    yield (
        "one matrix trained",
        of(tokens, lambda m: edits.change_of(m, up, lambda w: w + 0.1 * edits.draw(w)), "differ", "trained", up, touched=up),
    )
    yield (
        "only a bias",
        of(
            dense,
            lambda m: edits.change_of(m, "/wide/Conv", lambda w: w + 0.2, 2),
            "differ",
            "bias",
            "/wide/Conv",
            touched="/wide/Conv",
        ),
    )
    yield (
        "only the bias of a head",
        of(base, lambda m: edits.change_of(m, head, lambda w: w + edits.draw(w), 2), "differ", "bias", head, touched=head),
    )
    yield "other weights", of(base, lambda _: pairs.export(pairs.make_network(seed=9)), "differ", "other-weights", also={"trained"}, touched=ALL_LAYERS
                               | {n.name for n in pairs.base().graph.node if n.op_type == "BatchNormalization"})  # fmt: skip
    yield "statistics measured anew", of(
        base, lambda m: edits.change_of(m, "/5/bn1/BatchNormalization", lambda w: w + 0.3 * edits.draw(w), 3), "differ",
        {"trained", "statistics"}, "/5/bn1", touched="/5/bn1/BatchNormalization")  # fmt: skip


def list_values() -> Iterator[tuple[str, Pair]]:
    """Weights that were pruned, edited, or replaced by a few values."""
    base, tokens = pairs.base, nets.write_tokens
    head, conv, up = "/9/Gemm", "/5/conv2/Conv", f"{BLOCK}/up/MatMul"
    yield "pruned", of(base, pairs.prune, "differ", "pruned", touched=ALL_LAYERS - {head})
    yield "one weight replaced", of(
        base, lambda m: edits.change_of(m, conv, lambda w: edits.replace_one(w, 1e3)), "differ", "edited", conv, "1 weight", touched=conv)  # fmt: skip
    yield "one weight is not a number", of(
        base, lambda m: edits.change_of(m, conv, lambda w: edits.replace_one(w, np.nan)), "differ", "not-finite", conv, touched=conv)  # fmt: skip
    yield (
        "three values",
        of(base, lambda m: edits.change_of(m, conv, edits.ternarise), "differ", "clustered", conv, "3 different", touched=conv),
    )
    yield "clustered", of(base, edits.cluster, "differ", "clustered", "16", touched=ALL_LAYERS)
    yield "a narrow product added", of(tokens, lambda m: edits.adapt(m, up), "differ", "adapted", up, "rank 2", touched=up)
    yield "scaled and compensated", of(base, edits.equalise, "same", "scaled", also={"other-weights"})


def list_sizes() -> Iterator[tuple[str, Pair]]:
    """Layers with another number of channels or classes."""
    base = pairs.base
    head, conv = "/9/Gemm", "/5/conv2/Conv"
    yield "channels pruned", of(base, edits.drop_channels, "differ", "resized", "20 → 10",
                                 touched={"/5/conv1/Conv", "/5/bn1/BatchNormalization", "/5/act/Relu", conv})  # fmt: skip
    yield (
        "classes added",
        of(base, lambda m: edits.resize_head(m, 14, kept=True), "differ", "resized", "10 → 14", "4 added", touched=head),
    )
    yield "another head", of(base, lambda m: edits.resize_head(m, 7, kept=False), "differ", "resized", "10 → 7", touched=head)
