"""Pairs of networks whose channels, classes or layers have another order."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import Pair, of


def list_orders() -> Iterator[tuple[str, Pair]]:
    """Classes, channels, heads and colours in another order, and layers in the place of each other."""
    base, tokens = pairs.base, nets.write_tokens
    head, conv = "/9/Gemm", "/5/conv2/Conv"
    yield (
        "head shifted",
        of(base, lambda m: edits.change_of(m, head, lambda w: w + 0.1), "differ", "shifted", head, touched=head),
    )
    yield "classes permuted", of(base, pairs.permute_classes, "differ", "classes-permuted", head, touched=head)
    yield "classes permuted and trained", of(
        base, lambda m: edits.change_of(pairs.permute_classes(m), head, lambda w: w + 0.1 * edits.draw(w)), "differ",
        {"classes-permuted"}, head, "trained", touched=head)  # fmt: skip
    yield "channels permuted", of(base, pairs.permute_channels, "same", "channels-permuted", "consistently")
    yield "channels permuted and trained", of(
        base, lambda m: pairs.train(pairs.train(pairs.permute_channels(m), size=0.1), "/5/conv1/Conv"), "differ",
        {"channels-permuted"}, "trained", touched={conv, "/5/conv1/Conv"})  # fmt: skip
    yield "heads permuted", of(tokens, edits.permute_heads, "same", "channels-permuted", "consistently")
    yield (
        "colours in another order",
        of(base, lambda m: pairs.flip(m, "/0/Conv", 1), "differ", "inputs-permuted", "/0/Conv", touched="/0/Conv"),
    )
    yield "two layers swapped", of(base, lambda m: edits.swap_weights(m, "/4/conv1/Conv", "/4/conv2/Conv"), "differ", "swapped",
                                    "/4/conv1/Conv", "/4/conv2/Conv", touched={"/4/conv1/Conv", "/4/conv2/Conv"})  # fmt: skip
