"""Pairs of networks of which one node has another attribute or constant."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import ModelProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_matrix.pair import BLOCK, Pair, of, of_files


def change_setting(
    name: str, make: Callable[[], ModelProto], node: str, says: tuple[str, ...], gone: tuple[str, ...] = (), **given: object
) -> tuple[str, Pair]:
    """A node with other attributes, which a comparison must name."""
    return name, of(
        make, lambda m: edits.replace_attributes(m, node, gone, **given), "differ", "changed", node, *says, touched=node
    )


def list_sizes() -> Iterator[tuple[str, Pair]]:
    """Kernels, strides, padding and dilations."""
    base, dense = pairs.base, nets.write_dense
    yield change_setting(
        "kernel of a pool", base, "/3/MaxPool", ("kernel_shape: [2, 2] → [3, 3]",), kernel_shape=[3, 3], pads=[0, 0, 1, 1]
    )
    yield change_setting("dilation", dense, "/wide/Conv", ("dilations: [2, 2] → [1, 1]",), dilations=[1, 1], pads=[1, 1, 1, 1])
    yield change_setting(
        "padding counts in a mean", dense, "/pool/AveragePool", ("count_include_pad: 0 → 1",), count_include_pad=1
    )
    yield change_setting("padding at the other side", dense, "/stem/Conv", ("pads",), pads=[0, 0, 1, 1])
    yield "SAME_UPPER to SAME_LOWER", of_files(
        lambda _: (edits.replace_attributes(dense(), "/stem/Conv", ("pads",), auto_pad="SAME_UPPER"),
                   edits.replace_attributes(dense(), "/stem/Conv", ("pads",), auto_pad="SAME_LOWER")),
        "differ", "changed", "auto_pad: SAME_UPPER → SAME_LOWER", touched={"/stem/Conv"})  # fmt: skip
    yield "stride moved", of(base, lambda m: pairs.set_attribute(pairs.set_attribute(m, "/5/conv1/Conv", strides=[1, 1]), "/5/conv2/Conv", strides=[2, 2]),
                              "differ", "changed", "strides: [2, 2] → [1, 1]", "strides: [1, 1] → [2, 2]", touched={"/5/conv1/Conv", "/5/conv2/Conv"})  # fmt: skip


def list_numbers() -> Iterator[tuple[str, Pair]]:
    """Epsilons, slopes, axes, modes and constants."""
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    norm = "/5/bn1/BatchNormalization"
    yield change_setting("epsilon of a batch normalisation", base, norm, ("epsilon", "1e-05 → 0.01"), epsilon=1e-2)
    yield change_setting(
        "epsilon of a layer normalisation", tokens, f"{BLOCK}/first/LayerNormalization", ("epsilon",), epsilon=1e-2
    )
    yield change_setting("slope", dense, "/leaky/LeakyRelu", ("alpha: 0.1 → 0.3",), alpha=0.3)
    yield change_setting("axis of a softmax", dense, "/Softmax", ("axis: 1 → 2",), axis=2)
    yield change_setting(
        "nearest",
        dense,
        "/Resize",
        ("mode: linear → nearest",),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    yield change_setting(
        "corners",
        dense,
        "/Resize",
        ("coordinate_transformation_mode", "align_corners"),
        coordinate_transformation_mode="align_corners",
    )
    yield (
        "end of a clip",
        of(
            dense,
            lambda m: edits.set_constant(m, "/six/Constant_1", np.array(0.5, np.float32)),
            "differ",
            "changed",
            "6 → 0.5",
            touched="/six/Clip",
        ),
    )
    yield "softer attention", of(tokens, lambda m: edits.set_constant(m, f"{BLOCK}/Constant_3", np.array(4, np.float32)), "differ", "changed", "/blocks.0/Mul",
                                  touched={f"{BLOCK}/Mul"})  # fmt: skip
