"""Files that leave the size of images open: the usual one, or where they can't be run with it, the first that they can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model.describe import describe
from onnxspace.model.model import Model, open_model
from tests.helpers import nets

PROBES = Probes.generate(2, 32)


def opened(tmp_path: Path, proto: onnx.ModelProto, **options: object) -> Model:
    return open_model(nets.save(proto, tmp_path / "net.onnx"), options=replace(ModelOptions(), **options))  # type: ignore[arg-type]


def recogniser() -> onnx.ModelProto:
    """A line of text: its neck joins what is pooled from a height of 48 with a mean over the height, as PP-OCR's does."""
    net = nets.Net(("N", 3, "H", "W"))
    x = net.add("Relu", net.conv("image", 3, 8, strides=[4, 2], pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 8, 16, strides=[4, 2], pads=[1] * 4))
    pooled = net.add("AveragePool", x, kernel_shape=[3, 1], strides=[3, 1])
    joined = net.add("Concat", pooled, net.add("ReduceMean", pooled, axes=[2], keepdims=1), axis=1)
    return net.model([net.conv(joined, 32, 4, 1)])


def line(height: int | str = 48, narrowest: int = 1) -> onnx.ModelProto:
    """A recogniser that pools so many columns at least, of eight pixels each: images that are narrower can't be run."""
    net = nets.Net(("N", 3, height, "W"))
    x = net.add("Relu", net.conv("image", 3, 8, strides=[4, 2], pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 8, 16, strides=[4, 4], pads=[1] * 4))
    x = net.add("AveragePool", x, kernel_shape=[1, narrowest])
    return net.model([net.conv(x, 16, 4, 1)])


def pyramid(levels: int, height: int | str = "H") -> onnx.ModelProto:
    """Features of every level are joined with those above, enlarged twofold: sides must be multiples of 2 to the `levels`."""
    net = nets.Net(("N", 3, height, "W"))
    steps = [net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))]
    for _ in range(levels):
        steps.append(net.add("Relu", net.conv(steps[-1], 4, 4, strides=[2, 2], pads=[1] * 4)))
    x = steps.pop()
    while steps:
        scales = net.weight(np.array([1, 1, 2, 2], np.float32))
        x = net.add("Add", net.add("Resize", x, "", scales, mode="nearest"), steps.pop())
    return net.model([net.conv(x, 4, 1, 1)])


def dense(side: int) -> onnx.ModelProto:
    """A dense layer for one size only, which the file does not say."""
    net = nets.Net(("N", 3, "H", "W"))
    x = net.add("Flatten", net.add("Relu", net.conv("image", 3, 4, 8, strides=[8, 8])))
    return net.model([net.dense(x, 4 * (side // 8) ** 2, 3)])


def test_line_of_text(tmp_path: Path) -> None:
    model = opened(tmp_path, recogniser())
    assert (model.preprocess.height, model.preprocess.width) == (48, 320)
    assert "size 48×320, because it can't be run with 224×224" in model.assumed
    assert ox.attribute(model, PROBES).any()


@pytest.mark.parametrize("height", [32, 48, 64])
@pytest.mark.parametrize("narrowest", [1, 20])
def test_sister_files_of_a_line_have_one_width(tmp_path: Path, height: int, narrowest: int) -> None:
    model = opened(tmp_path, line(height, narrowest))
    assert (model.preprocess.height, model.preprocess.width) == (height, 320)
    words = f"size {height}×320, a line of text, because its width is open and its strides of rows and columns differ"
    assert words in describe(model).assumed


def test_other_networks_of_an_open_width_are_square(tmp_path: Path) -> None:
    for proto in (pyramid(3, 48), line(96)):
        model = opened(tmp_path, proto)
        assert model.preprocess.height == model.preprocess.width
    model = opened(tmp_path, line(48), size=(48, 96))
    assert model.preprocess.width == 96


def test_a_line_that_can_not_be_run_at_its_usual_width_is_tried_with_others(tmp_path: Path) -> None:
    model = opened(tmp_path, line(48, 60))
    assert model.preprocess.width == 640
    assert "size 48×640, because it can't be run with 48×320" in model.assumed


@pytest.mark.parametrize(("levels", "side"), [(3, 224), (5, 224), (6, 256), (7, 256)])
def test_multiples_of_the_strides(tmp_path: Path, levels: int, side: int) -> None:
    model = opened(tmp_path, pyramid(levels))
    assert (model.preprocess.height, model.preprocess.width) == (side, side)


def test_only_the_open_side_changes(tmp_path: Path) -> None:
    model = opened(tmp_path, pyramid(6, 192))
    assert (model.preprocess.height, model.preprocess.width) == (192, 192)
    model = opened(tmp_path, pyramid(6, 320))
    assert (model.preprocess.height, model.preprocess.width) == (320, 320)


@pytest.mark.parametrize("side", [640, 320, 128, 32])
def test_dense_layers_of_another_size(tmp_path: Path, side: int) -> None:
    assert opened(tmp_path, dense(side)).preprocess.height == side


def test_size_that_is_stated_is_taken(tmp_path: Path) -> None:
    assert opened(tmp_path, dense(640), size=(64, 64)).preprocess.height == 64


def test_where_no_size_can_be_run_the_sentence_names_size(tmp_path: Path) -> None:
    model = opened(tmp_path, dense(152))
    assert model.preprocess.height == 224
    model = replace(model, encoder=model.proto.graph.output[0].name)
    with pytest.raises(ModelError, match=r"net\.onnx can't be run by ONNX Runtime: .*State the `size` of images that it takes"):
        ox.attribute(model, PROBES)
    assert opened(tmp_path, dense(152), size=(152, 152)).preprocess.height == 152
