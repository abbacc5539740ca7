"""Pairs of files with the same network in another form."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of, of_files


def list_exports() -> Iterator[tuple[str, Pair]]:
    """Other names, exporters, operator sets and orders of axes."""
    base, tokens = pairs.base, nets.write_tokens
    yield "renamed", of(base, pairs.rename, "same", "re-export")
    yield "nodes in another order", of(base, edits.reorder_nodes, "same", {"same-graph", "re-export"})
    yield (
        "the other exporter",
        of(base, lambda _: pairs.export(pairs.make_network(), dynamo=True), "same", {"re-export", "opset"}),
    )
    yield "another operator set", of(base, lambda m: pairs.convert_opset(m, 19), "same", "opset")
    yield (
        "layer normalisation written out",
        of_files(lambda _: (tokens(opset=17), tokens(opset=16)), "same", {"split"}, also={"replaced"}),
    )
    yield (
        "layer normalisation put together",
        of_files(lambda _: (tokens(opset=16), tokens(opset=17)), "same", {"fused"}, also={"replaced"}),
    )
    yield (
        "shapes folded",
        of_files(lambda _: (tokens(folded=False, batch=True), tokens(folded=True)), "same", "moving-nodes-removed"),
    )
    yield "NHWC inside", of(base, pairs.to_nhwc, "same", "layout")
    yield "NHWC input", of(base, edits.take_channels_last, "same", {"layout", "moving-nodes-added"})


def list_fusions() -> Iterator[tuple[str, Pair]]:
    """Nodes that were fused, folded or written out."""
    base, tokens = pairs.base, nets.write_tokens
    yield "fused", of_files(lambda f: (base(), pairs.optimise(base(), f)), "same", "fused")
    yield "blocks of channels", of_files(lambda f: (base(), pairs.optimise(base(), f, "ORT_ENABLE_ALL")), "same", "fused")
    yield "attention fused", of_files(lambda f: (tokens(), pairs.optimise(tokens(), f)), "same", "fused")
    yield (
        "factors of the input folded",
        of_files(
            lambda _: (edits.scale_input(base(), folded=False), edits.scale_input(base(), folded=True)),
            "same",
            {"scaled", "replaced", "removed", "fused"},
            touched={"scale"},
        ),
    )
    yield "head as a convolution", of(base, edits.to_convolution, "same", "replaced")
    yield (
        "full rank in two layers",
        of(tokens, lambda m: edits.factorise(m, f"{BLOCK}/up/MatMul", 32), "same", {"factorised", "split"}),
    )
    yield (
        "lower rank in two layers",
        of(
            tokens,
            lambda m: edits.factorise(m, f"{BLOCK}/up/MatMul", 12),
            "differ",
            "factorised",
            "rank 12",
            touched={f"{BLOCK}/up/MatMul"},
            also={"added"},
        ),
    )


def list_structures() -> Iterator[tuple[str, Pair]]:
    """Nodes that compute nothing, functions, branches and shared weights."""
    base, dense = pairs.base, nets.write_dense
    yield "a node that nothing reads", of(base, edits.add_unread, "same", "added", "without an effect", "dead")
    yield "Identity", of(base, lambda m: pairs.insert(m, "Identity", "/5/act/Relu"), "same", "moving-nodes-added")
    yield "Dropout", of(base, lambda m: pairs.insert(m, "Dropout", "/5/act/Relu"), "same", "moving-nodes-added")
    yield "constants as nodes", of(base, edits.to_constant_nodes, "same", "moving-nodes-added")
    yield "a function", of(dense, lambda m: edits.to_function(m, "/leaky/LeakyRelu"), "same", {"same-graph"})
    yield "a branch", of(base, lambda m: edits.to_branch(m, "/5/act/Relu"), "same", {"replaced", "fused", "split"})
    yield "weights tied", of_files(lambda _: (edits.share_weights(base(), "/4/conv1/Conv", "/4/conv2/Conv", tied=False),
                                               edits.share_weights(base(), "/4/conv1/Conv", "/4/conv2/Conv", tied=True)), "same", "same-graph")  # fmt: skip
