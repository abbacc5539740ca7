"""Where networks of common structures are cut: detectors, headless transformers, encoder–decoders, fused side outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxspace.model.encoder import Trunk, find_encoder
from onnxspace.model.model import open_model
from onnxspace.model.records import Encoder
from tests.helpers.nets import Net, save
from tests.helpers.structures import attention_block, conv_relu, tokens_of, upsample


def encoder_of(proto: onnx.ModelProto, tmp_path: Path) -> tuple[Encoder, float, Trunk]:
    """The encoder that is found, the share of the work below it, and the trunk."""
    model = open_model(save(proto, tmp_path / "net.onnx"))
    trunk = Trunk(model)
    found = find_encoder(model, trunk)
    return found, trunk.share_below(list(found.tensors)), trunk


def shapes_of(found: Encoder, trunk: Trunk) -> list[tuple[int | None, ...] | None]:
    return [trunk.shape_of(name) for name in found.tensors]


def detector(end: Callable[[Net, str], str]) -> onnx.ModelProto:
    """Backbone and feature pyramid of two scales, a head of 4·16 bins and 8 classes on each, joined over positions, and `end`."""
    net = Net((1, 3, 64, 64))
    narrow = conv_relu(net, conv_relu(net, "image", 3, 8, 2), 8, 8, 2)
    low = conv_relu(net, conv_relu(net, narrow, 8, 32, 2), 32, 32)
    high = conv_relu(net, net.add("Concat", upsample(net, low), narrow, axis=1), 40, 16)
    flat = []
    for scale, channels in ((high, 16), (low, 32)):
        parts = [net.conv(conv_relu(net, scale, channels, 16), 16, values, 1) for values in (64, 8)]
        flat.append(net.add("Reshape", net.add("Concat", *parts, axis=1), net.weight(np.array([1, 72, -1]))))
    return net.model([end(net, net.add("Concat", *flat, axis=2))])


def split_boxes(net: Net, joined: str) -> tuple[str, str]:
    starts = [net.weight(np.array([n])) for n in (0, 64, 72, 1)]
    return net.add("Slice", joined, starts[0], starts[1], starts[3]), net.add("Slice", joined, starts[1], starts[2], starts[3])


def expected_bins(net: Net, joined: str) -> str:
    """The expectation over 16 bins, by a convolution with the weights 0, 1, 2, …, beside the classes: YOLOv8's only output."""
    boxes, classes = split_boxes(net, joined)
    bins = net.add("Reshape", boxes, net.weight(np.array([1, 4, 16, -1])))
    chosen = net.add("Softmax", net.add("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)
    sides = net.add("Conv", chosen, net.weight(np.arange(16.0).reshape(1, 16, 1, 1)))
    return net.add("Concat", net.add("Reshape", sides, net.weight(np.array([1, 4, -1]))), net.add("Sigmoid", classes), axis=1)


def converted_boxes(net: Net, joined: str) -> str:
    """Corners from centres and sizes, by a matrix."""
    boxes = net.add("Transpose", net.add("Slice", joined, *(net.weight(np.array([n])) for n in (0, 4, 1))), perm=[0, 2, 1])
    return net.add("MatMul", boxes, net.weight([[1.0, 0, 1, 0], [0, 1.0, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]]))


@pytest.mark.parametrize(
    "end", [expected_bins, converted_boxes, lambda net, joined: net.add("Transpose", joined, perm=[0, 2, 1])]
)
def test_a_detector_with_one_output_is_cut_where_its_heads_leave(tmp_path: Path, end: Callable[[Net, str], str]) -> None:
    """Not at the narrow tensor early in its backbone, nor at its joined predictions."""
    found, below, trunk = encoder_of(detector(end), tmp_path)
    assert shapes_of(found, trunk) == [(1, 32, 8, 8), (1, 16, 16, 16)]
    assert below > 0.5


def transformer(end: Callable[[Net, str], list[str]], depth: int = 3) -> onnx.ModelProto:
    """A vision transformer of 16 patches and a class token, 32 wide."""
    net = Net((1, 3, 32, 32))
    x = tokens_of(net, "image", 32)
    for _ in range(depth):
        x = attention_block(net, x, 32)
    return net.model(end(net, x))


def normed(net: Net, x: str) -> str:
    return net.add("LayerNormalization", x, net.weight(np.ones(32)), net.weight(np.zeros(32)))


def first(net: Net, x: str) -> str:
    return net.add("Gather", x, net.weight(np.array(0)), axis=1)


def class_token(net: Net, x: str) -> list[str]:
    return [first(net, normed(net, x))]


def all_tokens(net: Net, x: str) -> list[str]:
    return [normed(net, x)]


def tokens_and_class(net: Net, x: str) -> list[str]:
    x = normed(net, x)
    return [x, first(net, x)]


def tokens_before_the_norm(net: Net, x: str) -> list[str]:
    return [x, normed(net, first(net, x))]


def mean_token(net: Net, x: str) -> list[str]:
    return [normed(net, net.add("ReduceMean", x, axes=[1], keepdims=0))]


def pooler(net: Net, x: str) -> list[str]:
    x = normed(net, x)
    return [x, net.add("Tanh", net.dense(first(net, x), 32, 32))]


def projection(net: Net, x: str) -> list[str]:
    return [net.add("MatMul", normed(net, first(net, x)), net.random(32, 16)), x]


def classes(net: Net, x: str) -> list[str]:
    return [net.dense(first(net, normed(net, x)), 32, 10)]


ENDS: dict[Callable[[Net, str], list[str]], tuple[int, ...]] = {
    class_token: (1, 32), tokens_and_class: (1, 32), tokens_before_the_norm: (1, 32), mean_token: (1, 32), pooler: (1, 32),
    projection: (1, 32), classes: (1, 32), all_tokens: (1, 17, 32),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_transformer_is_cut_at_its_class_token_or_its_pooled_tokens(
    tmp_path: Path, end: Callable[[Net, str], list[str]]
) -> None:
    found, below, trunk = encoder_of(transformer(end), tmp_path)
    assert shapes_of(found, trunk) == [ENDS[end]]
    assert below > 0.99


def test_two_heads_on_two_tokens_are_explained_at_these_tokens(tmp_path: Path) -> None:
    """As a distilled transformer has them, whose other tokens are not used."""

    def heads(net: Net, x: str) -> list[str]:
        x = normed(net, x)
        tokens = [net.add("Gather", x, net.weight(np.array(place)), axis=1) for place in (0, 1)]
        return [net.add("Add", *(net.dense(token, 32, 10) for token in tokens))]

    found, _, trunk = encoder_of(transformer(heads), tmp_path)
    assert shapes_of(found, trunk) == [(1, 32), (1, 32)]
    assert found.why.startswith("the tensors that its last layers read: 64 values per image")


def residual(end: Callable[[Net, str], list[str]]) -> onnx.ModelProto:
    """Convolutions with a skip, 32 channels of 8 × 8."""
    net = Net((1, 3, 16, 16))
    x = conv_relu(net, "image", 3, 32, 2)
    x = net.add("Relu", net.add("Add", net.conv(conv_relu(net, x, 32, 16), 16, 32, pads=[1] * 4), x))
    return net.model(end(net, x))


def test_a_headless_residual_network_is_cut_at_its_pooled_features(tmp_path: Path) -> None:
    found, below, trunk = encoder_of(residual(lambda net, x: [net.add("Flatten", net.add("GlobalAveragePool", x))]), tmp_path)
    assert (shapes_of(found, trunk), below) == ([(1, 32)], 1)
    assert found.why == "the features that it ends with: 32 values per image"


def test_stages_that_are_outputs_too_are_on_the_way_to_the_last(tmp_path: Path) -> None:
    found, _, trunk = encoder_of(residual(lambda net, x: [net.nodes[1].output[0], x]), tmp_path)
    assert shapes_of(found, trunk) == [(1, 32, 8, 8)]


@pytest.mark.parametrize("outputs", [10, 1000])
def test_classes_that_are_pooled_are_no_features(tmp_path: Path, outputs: int) -> None:
    """A last convolution has a channel per class: its input is the encoder."""

    def pooled_classes(net: Net, x: str) -> list[str]:
        return [net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 32, outputs, 1)))]

    found, _, trunk = encoder_of(residual(pooled_classes), tmp_path)
    assert shapes_of(found, trunk) == [(1, 32, 8, 8)]


def test_a_picture_added_to_its_input_is_no_feature(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16))
    x = conv_relu(net, conv_relu(net, "image", 3, 16), 16, 16)
    found, _, _ = encoder_of(net.model([net.add("Add", net.conv(x, 16, 3, pads=[1] * 4), "image")]), tmp_path)
    assert found.tensors == (x,)


def test_a_cascade_of_convolutions_is_cut_where_its_two_heads_leave(tmp_path: Path) -> None:
    """PNet of MTCNN: the pooled first features are narrower, but two thirds of the work lie above them."""
    net = Net((1, 3, 32, 32))
    x = net.add("MaxPool", net.add("Relu", net.conv("image", 3, 10)), kernel_shape=[2, 2], strides=[2, 2])
    x = net.add("Relu", net.conv(net.add("Relu", net.conv(x, 10, 16)), 16, 32))
    found, below, _ = encoder_of(
        net.model([net.add("Softmax", net.conv(x, 32, 2, 1), axis=1), net.conv(x, 32, 4, 1)]), tmp_path
    )
    assert found.tensors == (x,)
    assert below > 0.5


@pytest.mark.parametrize("every", [False, True])
def test_fused_side_outputs_are_answers(tmp_path: Path, every: bool) -> None:
    """Edges at three scales, resized and fused by a convolution with three weights."""
    net = Net((1, 3, 32, 32))
    stages, widths = [conv_relu(net, "image", 3, 8)], (8, 32, 64)
    for inputs, outputs in pairwise(widths):
        below = net.add("MaxPool", stages[-1], kernel_shape=[2, 2], strides=[2, 2])
        stages.append(conv_relu(net, conv_relu(net, below, inputs, outputs), outputs, outputs))
    sides = [net.conv(x, width, 1, 1) for x, width in zip(stages, widths, strict=True)]
    sides = [sides[0], upsample(net, sides[1]), upsample(net, upsample(net, sides[2]))]
    fused = net.add("Sigmoid", net.conv(net.add("Concat", *sides, axis=1), 3, 1, 1))
    found, share, _ = encoder_of(net.model([fused, *(sides if every else [])]), tmp_path)
    assert found.tensors == tuple(stages)
    assert share > 0.5


def test_features_of_several_sizes_that_are_pooled_and_joined_are_features(tmp_path: Path) -> None:
    """Though the layer behind them does little of the work: none of them is an answer."""
    net = Net((1, 3, 32, 32))
    one = conv_relu(net, conv_relu(net, "image", 3, 16), 16, 24)
    two = conv_relu(net, one, 24, 16, 2)
    pooled = [net.add("Flatten", net.add("GlobalAveragePool", x)) for x in (one, two)]
    joined = net.add("Concat", *pooled, axis=1)
    found, _, _ = encoder_of(net.model([net.dense(joined, 40, 5)]), tmp_path)
    assert found.tensors == (joined,)


def test_a_head_that_holds_most_of_the_network_is_cut_before_its_last_layer(tmp_path: Path) -> None:
    """Two classifiers, of which one reads early features, are added: the work lies in one of both."""
    net = Net((1, 3, 32, 32))
    early = conv_relu(net, "image", 3, 8, 2)
    late = conv_relu(net, conv_relu(net, early, 8, 32), 32, 32)
    found, below, _ = encoder_of(net.model([net.add("Add", net.conv(early, 8, 5, 1), net.conv(late, 32, 5, 1))]), tmp_path)
    assert found.tensors == (early, late)
    assert below > 0.9


def test_a_decoder_that_works_at_the_same_positions_makes_no_waist(tmp_path: Path) -> None:
    """The narrow tensor has a third of the work below it, and what lies above it does not enlarge it."""
    net = Net((1, 3, 16, 16))
    narrow = conv_relu(net, conv_relu(net, "image", 3, 16), 16, 4)
    wide = conv_relu(net, conv_relu(net, narrow, 4, 16), 16, 16)
    found, below, _ = encoder_of(net.model([net.conv(wide, 16, 2, 1)]), tmp_path)
    assert found.tensors == (wide,)
    assert below > 0.5


def test_two_transformers_that_share_their_patches_are_cut_behind_them(tmp_path: Path) -> None:
    patches = [node.output[0] for node in transformer(class_token).graph.node if node.op_type == "Conv"]
    found, _, _ = encoder_of(transformer(class_token), tmp_path)
    assert not set(found.tensors) & set(patches)


def test_waists_of_a_long_graph_are_found_in_linear_time(tmp_path: Path) -> None:
    """Ten thousand candidates have less than half of the work below them."""
    net = Net((1, 3, 8, 8))
    x = net.conv("image", 3, 4, pads=[1] * 4)
    for _ in range(10_000):
        x = net.add("Relu", x)
    x = conv_relu(net, conv_relu(net, x, 4, 32), 32, 32)
    proto = net.model([net.conv(x, 32, 2, 1)])
    began = time.process_time()
    found, _, _ = encoder_of(proto, tmp_path)
    assert time.process_time() - began < 3
    assert found.tensors == (x,)


def test_features_that_are_an_output_are_the_encoder_of_the_head_behind_them(tmp_path: Path) -> None:
    """As CRAFT gives them beside its answers; the head's own tensors are narrower."""
    net = Net((1, 3, 32, 32))
    features = conv_relu(net, conv_relu(net, "image", 3, 32), 32, 32)
    found, _, _ = encoder_of(net.model([net.conv(conv_relu(net, features, 32, 8), 8, 2, 1), features]), tmp_path)
    assert found.tensors == (features,)
