"""Pairs of models with what was done to them by construction: what a comparison must say of each, and which nodes were not touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto

from tests.helpers import diff_edits as edits
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs

Make = Callable[[Path], tuple[ModelProto, ModelProto]]
#: Kinds of changes that are true of a file as well as of what was done to it.
FORMS = frozenset({
    "re-export", "opset", "same-graph", "folded", "fused", "split", "replaced", "layout", "shape", "moving-nodes-added",
    "moving-nodes-removed", "input-size",
})  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Two models (`make` writes what it needs to a folder), and what must be found.

    `verdict` and one of `kinds` (each text of `says` in a sentence) are right; `also` are other kinds that are true as well. `touched` names the
    nodes of the old file that compute something else or are gone: all others must be recognised.
    """

    make: Make
    verdict: str
    kinds: Set[str]
    says: tuple[str, ...] = ()
    touched: Set[str] = frozenset()
    also: Set[str] = frozenset()


def _of(old: Callable[[], ModelProto], change: Callable[[ModelProto], ModelProto], verdict: str, kinds: Set[str] | str, *says: str,
        touched: Set[str] | str = frozenset(), also: Set[str] = frozenset()) -> Pair:  # fmt: skip
    def make(_: Path) -> tuple[ModelProto, ModelProto]:
        return old(), change(old())

    kinds, touched = ({one} if isinstance(one, str) else one for one in (kinds, touched))
    return Pair(make, verdict, kinds, says, touched, also)


def _of_files(
    make: Make, verdict: str, kinds: Set[str] | str, *says: str, touched: Set[str] = frozenset(), also: Set[str] = frozenset()
) -> Pair:
    return Pair(make, verdict, {kinds} if isinstance(kinds, str) else kinds, says, touched, also)


def _fold(cause: str) -> Pair:
    at = "/5/conv1/Conv"
    return _of(pairs.base, lambda m: pairs.fold(m, at, MISTAKES[cause]), "differ", "folded-wrongly", cause, at,
               touched={at, "/5/bn1/BatchNormalization"})  # fmt: skip


MISTAKES = {
    **pairs.MISTAKES,
    "epsilon is 0.001": lambda g, b, m, v: (g / np.sqrt(v + 1e-3), b - m * g / np.sqrt(v + 1e-3)),
    "the variance was left out": lambda g, b, m, v: (g, b - m * g),
    "it was applied twice": lambda g, b, m, v: (g * g / v, ((0 - m) * g / np.sqrt(v) + b - m) * g / np.sqrt(v) + b),
    "the mean has the wrong sign": lambda g, b, m, v: (g / np.sqrt(v), b + m * g / np.sqrt(v)),
}
_BLOCK = "/blocks/blocks.0"
_ALL_LAYERS = frozenset(node.name for node in pairs.base().graph.node if node.op_type in ("Conv", "Gemm"))


def _list_weights() -> Iterator[tuple[str, Pair]]:
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    head, conv, up = "/9/Gemm", "/5/conv2/Conv", f"{_BLOCK}/up/MatMul"
    yield "one layer trained", _of(base, pairs.train, "differ", "trained", conv, touched=conv)
    yield "one layer trained by a thousandth", _of(base, lambda m: pairs.train(m, size=1e-3), "differ", "trained", touched=conv)
    yield "all layers trained", _of(base, edits.train_all, "differ", "trained", "9 of 16 layers", touched=_ALL_LAYERS)
    yield (
        "one matrix trained",
        _of(tokens, lambda m: edits.change_of(m, up, lambda w: w + 0.1 * edits.draw(w)), "differ", "trained", up, touched=up),
    )
    yield (
        "only a bias",
        _of(
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
        _of(base, lambda m: edits.change_of(m, head, lambda w: w + edits.draw(w), 2), "differ", "bias", head, touched=head),
    )
    yield "pruned", _of(base, pairs.prune, "differ", "pruned", touched=_ALL_LAYERS - {head})
    yield "one weight replaced", _of(
        base, lambda m: edits.change_of(m, conv, lambda w: edits.replace_one(w, 1e3)), "differ", "edited", conv, "1 weight", touched=conv)  # fmt: skip
    yield "one weight is not a number", _of(
        base, lambda m: edits.change_of(m, conv, lambda w: edits.replace_one(w, np.nan)), "differ", "not-finite", conv, touched=conv)  # fmt: skip
    yield (
        "three values",
        _of(
            base, lambda m: edits.change_of(m, conv, edits.ternarise), "differ", "clustered", conv, "3 different", touched=conv
        ),
    )
    yield "channels pruned", _of(base, edits.drop_channels, "differ", "resized", "20 → 10",
                                 touched={"/5/conv1/Conv", "/5/bn1/BatchNormalization", "/5/act/Relu", conv})  # fmt: skip
    yield "clustered", _of(base, edits.cluster, "differ", "clustered", "16", touched=_ALL_LAYERS)
    yield "a narrow product added", _of(tokens, lambda m: edits.adapt(m, up), "differ", "adapted", up, "rank 2", touched=up)
    yield "scaled and compensated", _of(base, edits.equalise, "same", "scaled", also={"other-weights"})
    yield (
        "head shifted",
        _of(base, lambda m: edits.change_of(m, head, lambda w: w + 0.1), "differ", "shifted", head, touched=head),
    )
    yield "classes permuted", _of(base, pairs.permute_classes, "differ", "classes-permuted", head, touched=head)
    yield "classes permuted and trained", _of(
        base, lambda m: edits.change_of(pairs.permute_classes(m), head, lambda w: w + 0.1 * edits.draw(w)), "differ",
        {"classes-permuted"}, head, "trained", touched=head)  # fmt: skip
    yield "channels permuted", _of(base, pairs.permute_channels, "same", "channels-permuted", "consistently")
    yield "channels permuted and trained", _of(
        base, lambda m: pairs.train(pairs.train(pairs.permute_channels(m), size=0.1), "/5/conv1/Conv"), "differ",
        {"channels-permuted"}, "trained", touched={conv, "/5/conv1/Conv"})  # fmt: skip
    yield "heads permuted", _of(tokens, edits.permute_heads, "same", "channels-permuted", "consistently")
    yield (
        "colours in another order",
        _of(base, lambda m: pairs.flip(m, "/0/Conv", 1), "differ", "inputs-permuted", "/0/Conv", touched="/0/Conv"),
    )
    yield "two layers swapped", _of(base, lambda m: edits.swap_weights(m, "/4/conv1/Conv", "/4/conv2/Conv"), "differ", "swapped",
                                    "/4/conv1/Conv", "/4/conv2/Conv", touched={"/4/conv1/Conv", "/4/conv2/Conv"})  # fmt: skip
    yield (
        "classes added",
        _of(base, lambda m: edits.resize_head(m, 14, kept=True), "differ", "resized", "10 → 14", "4 added", touched=head),
    )
    yield "another head", _of(base, lambda m: edits.resize_head(m, 7, kept=False), "differ", "resized", "10 → 7", touched=head)
    yield "other weights", _of(base, lambda _: pairs.export(pairs.make_network(seed=9)), "differ", "other-weights", also={"trained"}, touched=_ALL_LAYERS
                               | {n.name for n in pairs.base().graph.node if n.op_type == "BatchNormalization"})  # fmt: skip
    yield "statistics measured anew", _of(
        base, lambda m: edits.change_of(m, "/5/bn1/BatchNormalization", lambda w: w + 0.3 * edits.draw(w), 3), "differ",
        {"trained", "statistics"}, "/5/bn1", touched="/5/bn1/BatchNormalization")  # fmt: skip


def _list_folding() -> Iterator[tuple[str, Pair]]:
    yield "batch normalisations folded", _of(pairs.base, pairs.fold, "same", "folded")
    for cause in MISTAKES:
        yield f"folded: {cause}", _fold(cause)


def _list_nodes() -> Iterator[tuple[str, Pair]]:
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    relu, norm = "/5/act/Relu", "/5/bn1/BatchNormalization"

    def setting(
        name: str, make: Callable[[], ModelProto], node: str, says: tuple[str, ...], gone: tuple[str, ...] = (), **given: object
    ) -> tuple[str, Pair]:
        return name, _of(
            make, lambda m: edits.replace_attributes(m, node, gone, **given), "differ", "changed", node, *says, touched=node
        )

    yield setting(
        "kernel of a pool", base, "/3/MaxPool", ("kernel_shape: [2, 2] → [3, 3]",), kernel_shape=[3, 3], pads=[0, 0, 1, 1]
    )
    yield "an output added", _of(base, lambda m: edits.add_output(m, relu), "differ", "outputs-added", f"{relu}_output_0")
    yield "node removed", _of(base, lambda m: pairs.remove(m, relu), "differ", "removed", relu, touched=relu)
    yield "node added", _of(base, lambda m: pairs.insert(m, "Sigmoid", norm), "differ", "added", "extra")
    yield "shortcut removed", _of(base, lambda m: pairs.remove(m, "/4/Add"), "differ", "removed", "/4/Add", touched="/4/Add")
    yield (
        "another activation",
        _of(base, lambda m: edits.rename_operator(m, relu, "Tanh"), "differ", "other-operator", "Relu → Tanh", touched=relu),
    )
    yield (
        "HardSwish to HardSigmoid",
        _of(
            dense,
            lambda m: edits.rename_operator(m, "/act/HardSwish", "HardSigmoid"),
            "differ",
            "other-operator",
            touched="/act/HardSwish",
        ),
    )
    yield "average to largest", _of(dense, lambda m: edits.rename_operator(m, "/pool/AveragePool", "MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
                                    "differ", "other-operator", touched="/pool/AveragePool")  # fmt: skip
    yield "GELU approximated", _of_files(lambda _: (tokens(), tokens("tanh")), "differ", "other-operator", "Erf",
                                         touched={f"/blocks/blocks.{i}/act/{n}" for i in (0, 1) for n in ("Div", "Erf", "Add", "Mul", "Mul_1")})  # fmt: skip
    yield setting("epsilon of a batch normalisation", base, norm, ("epsilon", "1e-05 → 0.01"), epsilon=1e-2)
    yield setting("epsilon of a layer normalisation", tokens, f"{_BLOCK}/first/LayerNormalization", ("epsilon",), epsilon=1e-2)
    yield setting("slope", dense, "/leaky/LeakyRelu", ("alpha: 0.1 → 0.3",), alpha=0.3)
    yield setting("axis of a softmax", dense, "/Softmax", ("axis: 1 → 2",), axis=2)
    yield setting("dilation", dense, "/wide/Conv", ("dilations: [2, 2] → [1, 1]",), dilations=[1, 1], pads=[1, 1, 1, 1])
    yield setting("padding counts in a mean", dense, "/pool/AveragePool", ("count_include_pad: 0 → 1",), count_include_pad=1)
    yield setting(
        "nearest",
        dense,
        "/Resize",
        ("mode: linear → nearest",),
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )
    yield setting(
        "corners",
        dense,
        "/Resize",
        ("coordinate_transformation_mode", "align_corners"),
        coordinate_transformation_mode="align_corners",
    )
    yield setting("padding at the other side", dense, "/stem/Conv", ("pads",), pads=[0, 0, 1, 1])
    yield "SAME_UPPER to SAME_LOWER", _of_files(
        lambda _: (edits.replace_attributes(dense(), "/stem/Conv", ("pads",), auto_pad="SAME_UPPER"),
                   edits.replace_attributes(dense(), "/stem/Conv", ("pads",), auto_pad="SAME_LOWER")),
        "differ", "changed", "auto_pad: SAME_UPPER → SAME_LOWER", touched={"/stem/Conv"})  # fmt: skip
    yield (
        "end of a clip",
        _of(
            dense,
            lambda m: edits.set_constant(m, "/six/Constant_1", np.array(0.5, np.float32)),
            "differ",
            "changed",
            "6 → 0.5",
            touched="/six/Clip",
        ),
    )
    yield "stride moved", _of(base, lambda m: pairs.set_attribute(pairs.set_attribute(m, "/5/conv1/Conv", strides=[1, 1]), "/5/conv2/Conv", strides=[2, 2]),
                              "differ", "changed", "strides: [2, 2] → [1, 1]", "strides: [1, 1] → [2, 2]", touched={"/5/conv1/Conv", "/5/conv2/Conv"})  # fmt: skip
    yield "softer attention", _of(tokens, lambda m: edits.set_constant(m, f"{_BLOCK}/Constant_3", np.array(4, np.float32)), "differ", "changed", "/blocks.0/Mul",
                                  touched={f"{_BLOCK}/Mul"})  # fmt: skip


def _list_forms() -> Iterator[tuple[str, Pair]]:
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    yield "renamed", _of(base, pairs.rename, "same", "re-export")
    yield "nodes in another order", _of(base, edits.reorder_nodes, "same", {"same-graph", "re-export"})
    yield (
        "the other exporter",
        _of(base, lambda _: pairs.export(pairs.make_network(), dynamo=True), "same", {"re-export", "opset"}),
    )
    yield "another operator set", _of(base, lambda m: pairs.convert_opset(m, 19), "same", "opset")
    yield (
        "layer normalisation written out",
        _of_files(lambda _: (tokens(opset=17), tokens(opset=16)), "same", {"split"}, also={"replaced"}),
    )
    yield (
        "layer normalisation put together",
        _of_files(lambda _: (tokens(opset=16), tokens(opset=17)), "same", {"fused"}, also={"replaced"}),
    )
    yield (
        "shapes folded",
        _of_files(lambda _: (tokens(folded=False, batch=True), tokens(folded=True)), "same", "moving-nodes-removed"),
    )
    yield "fused", _of_files(lambda f: (base(), pairs.optimise(base(), f)), "same", "fused")
    yield "blocks of channels", _of_files(lambda f: (base(), pairs.optimise(base(), f, "ORT_ENABLE_ALL")), "same", "fused")
    yield "attention fused", _of_files(lambda f: (tokens(), pairs.optimise(tokens(), f)), "same", "fused")
    yield "NHWC inside", _of(base, pairs.to_nhwc, "same", "layout")
    yield "NHWC input", _of(base, edits.take_channels_last, "same", {"layout", "moving-nodes-added"})
    yield (
        "factors of the input folded",
        _of_files(
            lambda _: (edits.scale_input(base(), folded=False), edits.scale_input(base(), folded=True)),
            "same",
            {"scaled", "replaced", "removed", "fused"},
            touched={"scale"},
        ),
    )
    yield "head as a convolution", _of(base, edits.to_convolution, "same", "replaced")
    yield "a node that nothing reads", _of(base, edits.add_unread, "same", "added", "without an effect", "dead")
    yield "Identity", _of(base, lambda m: pairs.insert(m, "Identity", "/5/act/Relu"), "same", "moving-nodes-added")
    yield "Dropout", _of(base, lambda m: pairs.insert(m, "Dropout", "/5/act/Relu"), "same", "moving-nodes-added")
    yield "constants as nodes", _of(base, edits.to_constant_nodes, "same", "moving-nodes-added")
    yield "a function", _of(dense, lambda m: edits.to_function(m, "/leaky/LeakyRelu"), "same", {"same-graph"})
    yield "a branch", _of(base, lambda m: edits.to_branch(m, "/5/act/Relu"), "same", {"replaced", "fused", "split"})
    yield "weights tied", _of_files(lambda _: (edits.share_weights(base(), "/4/conv1/Conv", "/4/conv2/Conv", tied=False),
                                               edits.share_weights(base(), "/4/conv1/Conv", "/4/conv2/Conv", tied=True)), "same", "same-graph")  # fmt: skip
    yield (
        "full rank in two layers",
        _of(tokens, lambda m: edits.factorise(m, f"{_BLOCK}/up/MatMul", 32), "same", {"factorised", "split"}),
    )
    yield (
        "lower rank in two layers",
        _of(
            tokens,
            lambda m: edits.factorise(m, f"{_BLOCK}/up/MatMul", 12),
            "differ",
            "factorised",
            "rank 12",
            touched={f"{_BLOCK}/up/MatMul"},
            also={"added"},
        ),
    )


def _list_precisions() -> Iterator[tuple[str, Pair]]:
    base, dense, tokens = pairs.base, nets.write_dense, nets.write_tokens
    yield "half precision", _of(base, pairs.halve, "rounding", "half")
    yield "tokens in half precision", _of(tokens, pairs.halve, "rounding", "half")
    yield "rounded to half precision and back", _of(
        base, lambda m: edits.round_all(m, lambda w: w.astype(np.float16)), "same", "requantised", "which rounding explains")  # fmt: skip
    yield "cut off to bfloat16 and back", _of(
        base, lambda m: edits.round_all(m, edits.cut_bits), "differ", "requantised", "which rounding explains", touched=_ALL_LAYERS)  # fmt: skip
    yield "weights in half precision", _of(base, lambda m: edits.store_as(m, TensorProto.FLOAT16), "rounding", "half")
    yield "weights in bfloat16", _of(base, lambda m: edits.store_as(m, TensorProto.BFLOAT16), "rounding", "bfloat16")
    yield (
        "trained in half precision",
        _of(base, lambda m: pairs.halve(pairs.train(m)), "differ", "trained", touched={"/5/conv2/Conv"}, also={"half"}),
    )
    for name, options in {"": {}, " per channel": {"per_channel": True}, " by integers": {"form": "QOperator"}}.items():
        yield f"int8{name}", _of_files(lambda f, o=options: (base(), edits.quantise_as(base(), f, **o)), "rounding", "int8")
        yield (
            f"dense int8{name}",
            _of_files(lambda f, o=options: (dense(), edits.quantise_as(dense(), f, **o)), "rounding", "int8"),
        )
    yield "int8 dynamic", _of_files(lambda f: (tokens(), edits.quantise_as(tokens(), f, dynamic=True)), "rounding", "int8")
    yield "int8 tokens", _of_files(lambda f: (tokens(), edits.quantise_as(tokens(), f)), "rounding", "int8")
    yield (
        "int8 with a narrow range",
        _of_files(
            lambda f: (dense(), edits.quantise_as(dense(), f, largest=1)),
            "differ",
            "clipped",
            "/pool/AveragePool",
            also={"int8"},
        ),
    )
    yield (
        "int8 per tensor to per channel",
        _of_files(
            lambda f: (edits.quantise_as(base(), f), edits.quantise_as(base(), f, per_channel=True)),
            "rounding",
            {"requantised", "int8"},
        ),
    )
    yield (
        "int8 nodes to integers",
        _of_files(
            lambda f: (edits.quantise_as(base(), f), edits.quantise_as(base(), f, form="QOperator")),
            "rounding",
            {"fused", "requantised", "replaced"},
            also={"single-precision"},
        ),
    )
    yield (
        "trained in int8",
        _of_files(
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
        _of_files(
            lambda f: (dense(), edits.quantise_as(edits.change_of(dense(), "/wide/Conv", lambda w: w * 0 + 1, 2), f)),
            "differ",
            {"bias", "changed", "trained"},
            "/wide/Conv",
            touched={"/wide/Conv"},
            also={"int8"},
        ),
    )


PAIRS: dict[str, Pair] = {
    name: pair for each in (_list_weights, _list_folding, _list_nodes, _list_forms, _list_precisions) for name, pair in each()
}
