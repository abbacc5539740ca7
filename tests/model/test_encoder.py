"""Where a network is cut: bottlenecks, ties, heads, and what a user names."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxspace.errors import ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.encoder import Trunk, cut, find_encoder
from onnxspace.model.model import Model, open_model
from tests.helpers.nets import Net, classifier, save


def opened(proto: onnx.ModelProto, tmp_path: Path, encoder: str = "auto") -> Model:
    return open_model(save(proto, tmp_path / "net.onnx"), encoder, ModelOptions(size=(16, 16)))


def test_a_classifier_is_cut_before_its_last_layer_the_latest_on_a_tie(tmp_path: Path) -> None:
    """Pool and Flatten both have four values: Flatten, the later one, is taken."""
    model = opened(classifier(units=4), tmp_path)
    assert find_encoder(model).tensors == ("t5",)
    candidates = Trunk(model).candidates()
    assert [c.tensor for c in candidates] == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert [c.shape for c in candidates][-2:] == [(1, 4, 1, 1), (1, 4)]


def test_shares_are_multiply_adds(tmp_path: Path) -> None:
    """First Conv 3·8·9·256, second 8·4·9·256, Gemm 4·3 multiply-adds."""
    trunk = Trunk(opened(classifier(), tmp_path))
    first, second, head = 3 * 8 * 9 * 256, 8 * 4 * 9 * 256, 4 * 3
    assert sum(trunk.work.values()) == first + second + head
    assert trunk.candidates()[0].below == pytest.approx(first / (first + second + head))


def encoder_decoder() -> onnx.ModelProto:
    """A bottleneck of 2·4·4 values under a decoder that does more than half of the work."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, strides=[2, 2], pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 4, 2, strides=[2, 2], pads=[1] * 4))
    x = net.add("Relu", net.add("ConvTranspose", x, net.random(2, 8, 2, 2), strides=[2, 2]))
    x = net.add("Relu", net.add("ConvTranspose", x, net.random(8, 8, 2, 2), strides=[2, 2]))
    return net.model([net.conv(x, 8, 3, 1)])


def test_an_encoder_decoder_is_cut_at_its_waist(tmp_path: Path) -> None:
    model = opened(encoder_decoder(), tmp_path)
    found = find_encoder(model)
    assert found.tensors == ("t3",)
    assert Trunk(model).share_below(["t3"]) < 0.5


def detector() -> onnx.ModelProto:
    """Two scales, two heads each, outputs concatenated over scales: nothing in the later half is passed by all paths."""
    net = Net()
    fine = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    coarse = net.add("Relu", net.conv(fine, 4, 16, strides=[2, 2], pads=[1] * 4))
    outputs = []
    for values in (2, 4):
        heads = [net.conv(fine, 4, values, pads=[1] * 4), net.conv(coarse, 16, values, pads=[1] * 4)]
        flat = [net.add("Reshape", h, net.weight(np.array([0, -1]))) for h in heads]
        outputs.append(net.add("Concat", *flat, axis=1))
    return net.model(outputs)


def test_a_detector_is_cut_where_its_heads_leave(tmp_path: Path) -> None:
    found = find_encoder(opened(detector(), tmp_path))
    assert found.tensors == ("t1", "t3")
    assert "2 tensors at which its heads leave" in found.why


def test_a_skip_around_everything_leaves_the_last_features(tmp_path: Path) -> None:
    net = Net(("N", 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 4, 4, pads=[1] * 4))
    out = net.add("Add", "image", net.conv(x, 4, 3, pads=[1] * 4))
    found = find_encoder(opened(net.model([out]), tmp_path))
    assert found.tensors == (x,)


def test_reading_a_shape_is_not_a_path(tmp_path: Path) -> None:
    """The target size of the last Reshape comes from the image's shape, around every bottleneck."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    batch = net.add("Slice", net.add("Shape", "image"), net.weight(np.array([0])), net.weight(np.array([1])))
    target = net.add("Concat", batch, net.weight(np.array([-1])), axis=0)
    out = net.add("Reshape", net.dense(x, 8, 6), target)
    assert find_encoder(opened(net.model([out]), tmp_path)).tensors == (x,)


def test_a_single_layer_is_explained_at_its_output(tmp_path: Path) -> None:
    net = Net()
    out = net.add("Relu", net.conv("image", 3, 4))
    assert find_encoder(opened(net.model([out]), tmp_path)).tensors == (out,)


def test_products_of_two_computed_tensors_are_not_parametric(tmp_path: Path) -> None:
    """A MatMul of attention has no weights: after the last dense layer there is no candidate."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 4, 2, pads=[1] * 4))
    product = net.add("MatMul", x, net.add("Transpose", x, perm=[0, 1, 3, 2]))
    trunk = Trunk(opened(net.model([product]), tmp_path))
    assert len(trunk.parametric) == 2
    assert [c.tensor for c in trunk.candidates()] == ["t0", "t1"]


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    proto = classifier()
    nodes = list(proto.graph.node)[::-1]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    assert find_encoder(opened(proto, tmp_path)).tensors == ("t5",)


@pytest.mark.parametrize(("wanted", "expected"), [("t2", "t2"), ("n3", "t3")])
def test_a_tensor_or_a_node_can_be_named(tmp_path: Path, wanted: str, expected: str) -> None:
    assert find_encoder(opened(classifier(), tmp_path, wanted)).tensors == (expected,)


@pytest.mark.parametrize(
    ("wanted", "reason"), [("nowhere", "there is no tensor or node 'nowhere'"), ("t0", "does not depend on the image")]
)
def test_a_wrong_name_is_refused_with_the_file(tmp_path: Path, wanted: str, reason: str) -> None:
    net = Net()
    net.add("Add", net.weight([1.0]), net.weight([2.0]))
    x = net.add("Relu", net.conv("image", 3, 4))
    with pytest.raises(ModelError, match=rf"net\.onnx.*{reason}"):
        find_encoder(opened(net.model([net.conv(x, 4, 2)]), tmp_path, wanted))


def test_the_cut_keeps_what_the_encoder_needs_and_nothing_else(tmp_path: Path) -> None:
    model = opened(classifier(), tmp_path)
    part = cut(model, find_encoder(model)).proto
    assert [node.op_type for node in part.graph.node] == ["Conv", "Relu", "Conv", "Relu", "GlobalAveragePool", "Flatten"]
    assert len(part.graph.initializer) == 2
    onnx.checker.check_model(part)


def test_the_same_encoder_whatever_the_batch_is_called(tmp_path: Path) -> None:
    for batch in ("N", 1, None):
        assert find_encoder(opened(classifier((batch, 3, 16, 16)), tmp_path)).tensors == ("t5",)


def chain(length: int) -> onnx.ModelProto:
    """A Conv, so many activations one after the other, and a Conv."""
    net = Net()
    x = net.conv("image", 3, 4)
    for _ in range(length):
        x = net.add("Relu", x)
    return net.model([net.conv(x, 4, 2)])


def test_candidates_of_twenty_thousand_nodes_take_less_than_two_seconds(tmp_path: Path) -> None:
    model = opened(chain(20_000), tmp_path)
    began = time.process_time()
    trunk = Trunk(model)
    found = find_encoder(model, trunk)
    assert time.process_time() - began < 2
    assert len(trunk.candidates()) == 20_001
    assert found.tensors == ("t20000",)


def many_heads(count: int) -> onnx.ModelProto:
    """So many heads that share a trunk."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    return net.model([net.conv(x, 4, 1, pads=[1] * 4) for _ in range(count)])


def test_heads_are_found_in_linear_time(tmp_path: Path) -> None:
    model = opened(many_heads(3_000), tmp_path)
    began = time.process_time()
    assert find_encoder(model).tensors == ("t1",)
    assert time.process_time() - began < 2
