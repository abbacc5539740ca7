"""Pairs of networks of which the second has a node more or less, or another operator."""

from __future__ import annotations

from collections.abc import Iterator

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import Pair, of, of_files


def list_nodes() -> Iterator[tuple[str, Pair]]:
    """Nodes that were added, removed or replaced."""
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    relu, norm = "/5/act/Relu", "/5/bn1/BatchNormalization"
    yield "an output added", of(base, lambda m: edits.add_output(m, relu), "differ", "outputs-added", f"{relu}_output_0")
    yield "node removed", of(base, lambda m: pairs.remove(m, relu), "differ", "removed", relu, touched=relu)
    yield "node added", of(base, lambda m: pairs.insert(m, "Sigmoid", norm), "differ", "added", "extra")
    yield "shortcut removed", of(base, lambda m: pairs.remove(m, "/4/Add"), "differ", "removed", "/4/Add", touched="/4/Add")
    yield (
        "another activation",
        of(base, lambda m: edits.rename_operator(m, relu, "Tanh"), "differ", "other-operator", "Relu → Tanh", touched=relu),
    )
    yield (
        "HardSwish to HardSigmoid",
        of(
            dense,
            lambda m: edits.rename_operator(m, "/act/HardSwish", "HardSigmoid"),
            "differ",
            "other-operator",
            touched="/act/HardSwish",
        ),
    )
    yield "average to largest", of(dense, lambda m: edits.rename_operator(m, "/pool/AveragePool", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
                                    "differ", "other-operator", touched="/pool/AveragePool")  # fmt: skip
    yield "GELU approximated", of_files(lambda _: (tokens(), tokens("tanh")), "differ", "other-operator", "Erf",
                                         touched={f"/blocks/blocks.{i}/act/{n}" for i in (0, 1) for n in ("Div", "Erf", "Add", "Mul", "Mul_1")})  # fmt: skip
