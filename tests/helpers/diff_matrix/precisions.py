"""Pairs of networks of which the second has a lower precision."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import ALL_LAYERS, Pair, of, of_files


def list_halves() -> Iterator[tuple[str, Pair]]:
    """Half precision and bfloat16."""
    base, tokens = pairs.base, nets.write_tokens
    yield "half precision", of(base, pairs.halve, "rounding", "half")
    yield "tokens in half precision", of(tokens, pairs.halve, "rounding", "half")
    yield "rounded to half precision and back", of(
        base, lambda m: edits.round_all(m, lambda w: w.astype(np.float16)), "same", "requantised", "which rounding explains")  # fmt: skip
    yield "cut off to bfloat16 and back", of(
        base, lambda m: edits.round_all(m, edits.cut_bits), "differ", "requantised", "which rounding explains", touched=ALL_LAYERS)  # fmt: skip
    yield "weights in half precision", of(base, lambda m: edits.store_as(m, TensorProto.FLOAT16), "rounding", "half")
    yield "weights in bfloat16", of(base, lambda m: edits.store_as(m, TensorProto.BFLOAT16), "rounding", "bfloat16")
    yield (
        "trained in half precision",
        of(base, lambda m: pairs.halve(pairs.train(m)), "differ", "trained", touched={"/5/conv2/Conv"}, also={"half"}),
    )


def list_eight_bits() -> Iterator[tuple[str, Pair]]:
    """Eight bits by tools of ONNX Runtime."""
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    for name, options in {"": {}, " per channel": {"per_channel": True}, " by integers": {"form": "QOperator"}}.items():
        yield f"int8{name}", of_files(lambda f, o=options: (base(), edits.quantise_as(base(), f, **o)), "rounding", "int8")
        yield (
            f"dense int8{name}",
            of_files(lambda f, o=options: (dense(), edits.quantise_as(dense(), f, **o)), "rounding", "int8"),
        )
    yield "int8 dynamic", of_files(lambda f: (tokens(), edits.quantise_as(tokens(), f, dynamic=True)), "rounding", "int8")
    yield "int8 tokens", of_files(lambda f: (tokens(), edits.quantise_as(tokens(), f)), "rounding", "int8")
    yield (
        "int8 per tensor to per channel",
        of_files(
            lambda f: (edits.quantise_as(base(), f), edits.quantise_as(base(), f, per_channel=True)),
            "rounding",
            {"requantised", "int8"},
        ),
    )
    yield (
        "int8 nodes to integers",
        of_files(
            lambda f: (edits.quantise_as(base(), f), edits.quantise_as(base(), f, form="QOperator")),
            "rounding",
            {"fused", "requantised", "replaced"},
            also={"single-precision"},
        ),
    )


def list_mistakes() -> Iterator[tuple[str, Pair]]:
    """Eight bits with a mistake, or of other weights."""
    base, dense = pairs.base, nets.write_dense
    yield (
        "int8 with a narrow range",
        of_files(
            lambda f: (dense(), edits.quantise_as(dense(), f, largest=1)),
            "differ",
            "clipped",
            "/pool/AveragePool",
            also={"int8"},
        ),
    )
    yield (
        "trained in int8",
        of_files(
            lambda f: (base(), edits.quantise_as(pairs.train(base(), size=0.5), f)),
            "differ",
            "trained",
            "/5/conv2/Conv",
            touched={"/5/conv2/Conv"},
            also={"int8"},
        ),
    )
    yield (
        "bias lost in int8",
        of_files(
            lambda f: (dense(), edits.quantise_as(edits.change_of(dense(), "/wide/Conv", lambda w: w * 0 + 1, 2), f)),
            "differ",
            {"bias", "changed", "trained"},
            "/wide/Conv",
            touched={"/wide/Conv"},
            also={"int8"},
        ),
    )
