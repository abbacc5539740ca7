"""Held-back pairs of networks with other nodes."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, helper, numpy_helper

from tests.helpers import diff_edits as edits
from tests.helpers import diff_more_edits as more
from tests.helpers import diff_nets as nets
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_held.changed_weights import write_joined, write_mobile
from tests.helpers.diff_kinds import write_kind
from tests.helpers.diff_matrix.layers import use_relu
from tests.helpers.diff_matrix.pair import Pair, of, of_files

_OTHER = "/blocks/blocks.1"


def _add_mask(model: ModelProto) -> ModelProto:
    """Tokens that do not attend to later ones."""
    made = copy.deepcopy(model)
    node = pairs.find(made, f"{_OTHER}/Softmax")
    mask = np.triu(np.full((16, 16), -1e4, np.float32), 1)
    made.graph.initializer.append(numpy_helper.from_array(mask, "mask_c"))
    added = helper.make_node("Add", [node.input[0], "mask_c"], ["mask"], name="mask")
    made.graph.node.insert(list(made.graph.node).index(node), added)
    pairs.find(made, f"{_OTHER}/Softmax").input[0] = "mask"
    return made


def _skip_block(model: ModelProto) -> ModelProto:
    """The last residual block taken out."""
    made = copy.deepcopy(model)
    end, start = (pairs.find(made, name).output[0] for name in ("/6/act_1/Relu", "/5/act_1/Relu"))
    for node in [node for node in made.graph.node if node.name.startswith("/6/")]:
        made.graph.node.remove(node)
    for node in made.graph.node:
        node.input[:] = [start if name == end else name for name in node.input]
    return made


def list_nodes() -> Iterator[tuple[str, Pair]]:
    """Nodes that were added, removed or replaced."""
    base, norm, act = pairs.base, "/norm/LayerNormalization", f"{_OTHER}/act/HardSwish"
    block = {node.name for node in base().graph.node if node.name.startswith("/6/")}
    means = np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1))
    yield "causal mask added", of(nets.write_tokens, _add_mask, "differ", "added", "mask")
    yield "last layer normalisation removed", of(
        nets.write_tokens, lambda m: pairs.remove(m, norm), "differ", "removed", "/norm", touched=norm)  # fmt: skip
    yield "ReLU in place of HardSwish", of(
        write_mobile, lambda m: edits.rename_operator(m, act, "Relu"), "differ", "other-operator", "HardSwish → Relu", touched=act)  # fmt: skip
    yield "residual block removed", of(base, _skip_block, "differ", "removed", "/6/conv1/Conv", touched=block)
    yield "block inserted", of_files(lambda _: (_skip_block(base()), base()), "differ", "added", "/6/conv1/Conv")
    yield "softmax added", of(write_mobile, lambda m: more.append(m, "Softmax", axis=1), "differ", "added", "end")
    yield "ReLU in place of SiLU", of(write_joined, use_relu, "differ", "other-operator", touched={"/Sigmoid_1", "/Mul_2"})
    yield "mean of the pixels subtracted", of(base, lambda m: more.prepend(m, ("Sub", means)), "differ", "added", "front0")


def _group(model: ModelProto) -> ModelProto:
    made = more.change_named(model, lambda w: w[:, :8], "middle.weight")
    return pairs.set_attribute(made, "/middle/Conv", group=2)


def list_settings() -> Iterator[tuple[str, Pair]]:
    """Nodes with other attributes, and images of another size."""

    def make() -> ModelProto:
        return write_kind("decoder")

    yield "smooth resizing", of(
        make, lambda m: edits.replace_attributes(
            m, "/Resize", ("nearest_mode",), mode="linear", coordinate_transformation_mode="half_pixel"),
        "differ", "changed", "nearest → linear", touched="/Resize")  # fmt: skip
    yield "stride of a stem", of(
        write_mobile, lambda m: pairs.set_attribute(m, "/stem/Conv", strides=[1, 1]), "differ", "changed", "strides: [2, 2] → [1, 1]",
        touched="/stem/Conv")  # fmt: skip
    yield "groups of a convolution", of(
        make, _group, "differ", {"resized", "changed"}, "/middle/Conv", touched="/middle/Conv")  # fmt: skip
    yield "smaller images", of(make, lambda m: more.resize_input(m, 48), "differ", "input-size", "48")
