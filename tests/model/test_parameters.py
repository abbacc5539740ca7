"""What counts as a parameter, by parts of networks; whole networks are compared with PyTorch in tests/torchgraph/test_exporter_forms.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxspace as ox
from onnxspace.checking.child.forms import write_form
from onnxspace.model.parameters import count_parameters
from tests.helpers.nets import Net, classifier, save

#: A convolution of 3 to 8 channels.
CONV = 8 * 3 * 9


def start() -> tuple[Net, str]:
    net = Net()
    return net, net.conv("image", 3, 8, pads=[1] * 4)


def enlarged() -> tuple[Net, str]:
    net, x = start()
    return net, net.add("Resize", x, "", net.weight(np.array([1, 1, 2, 2], np.float32)))


def clipped_and_padded() -> tuple[Net, str]:
    net, x = start()
    x = net.add("Clip", x, net.weight(np.float32(0)), net.weight(np.float32(6)))
    return net, net.add("Pad", x, net.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1])), net.weight(np.float32(0)))


def scaled() -> tuple[Net, str]:
    """One number, and a vector that scales the channels."""
    net, x = start()
    x = net.add("Mul", x, net.weight(np.array([0.5], np.float32)))
    return net, net.add("Mul", x, net.weight(np.ones((8, 1, 1), np.float32)))


def normalised() -> tuple[Net, str]:
    """Pixels by constants, channels by a batch normalisation."""
    net = Net()
    x = net.add("Sub", "image", net.weight(np.ones((3, 1, 1), np.float32)))
    x = net.conv(net.add("Div", x, net.weight(np.ones((3, 1, 1), np.float32))), 3, 8)
    return net, net.add("BatchNormalization", x, *(net.weight(np.ones(8, np.float32)) for _ in range(4)))


def one_slope() -> tuple[Net, str]:
    net, x = start()
    return net, net.add("PRelu", x, net.weight(np.full((1, 1, 1), 0.25, np.float32)))


def a_token() -> tuple[Net, str]:
    """A class token that is expanded to the batch, and the same positions for two layers."""
    net, x = start()
    x = net.add("Transpose", net.add("Reshape", x, net.weight(np.array([0, 8, -1]))), perm=[0, 2, 1])
    token = net.add("Expand", net.weight(np.ones((1, 1, 8), np.float32)), net.weight(np.array([1, 1, 8])))
    places = net.weight(np.ones((1, 257, 8), np.float32))
    return net, net.add("Add", net.add("Add", net.add("Concat", token, x, axis=1), places), places)


def recurrent() -> tuple[Net, str]:
    net, x = start()
    x = net.add("Transpose", net.add("Reshape", x, net.weight(np.array([0, 8, -1]))), perm=[2, 0, 1])
    state = net.weight(np.zeros((1, 1, 4), np.float32))
    return net, net.add("GRU", x, net.random(1, 12, 8), net.random(1, 12, 4), net.random(1, 24), "", state, hidden_size=4)


def unused() -> tuple[Net, str]:
    net, x = start()
    net.random(5, 5)
    return net, x


CASES: dict[Callable[[], tuple[Net, str]], int] = {
    start: 0, enlarged: 0, clipped_and_padded: 0, scaled: 8, normalised: 16, one_slope: 1, a_token: 8 + 257 * 8,
    recurrent: 12 * 8 + 12 * 4 + 24, unused: 0,
}  # fmt: skip


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__)
def test_what_is_learned_counts(build: Callable[[], tuple[Net, str]]) -> None:
    net, output = build()
    assert count_parameters(net.model([output])) == CONV + CASES[build]


@pytest.mark.parametrize("form", ["half", "int8", "optimised"])
def test_other_forms_of_a_network_have_as_many(form: str, tmp_path: Path) -> None:
    """Steps and zero points of the quantised one do not count."""
    save(classifier(), tmp_path / "net.onnx")
    expected = ox.inspect(tmp_path / "net.onnx").parameters
    assert expected == 8 * 27 + 4 * 72 + 12
    write_form(form, ox.open_model(tmp_path / "net.onnx"), ox.Probes.generate(4, 16).images, tmp_path / "other.onnx")
    assert ox.inspect(tmp_path / "other.onnx").parameters == expected


def test_packed_weights_count_as_those_that_they_stand_for() -> None:
    packed = numpy_helper.from_array(np.zeros((16, 1, 16), np.uint8), "packed")
    scales = numpy_helper.from_array(np.ones(16, np.float32), "scales")
    node = helper.make_node(
        "MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft", K=32, N=16, bits=4, block_size=32
    )
    sizes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    assert (
        count_parameters(onnx.helper.make_model(helper.make_graph([node], "g", sizes[:1], sizes[1:], [packed, scales]))) == 512
    )
