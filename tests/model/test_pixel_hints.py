"""Hints on pixels: the scale of first weights, outputs that repeat the image, and what exporters usually take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxspace.model.model import open_model
from onnxspace.model.pixel_evidence import infer_pixels
from onnxspace.model.pixel_pictures import score_pictures
from tests.helpers.nets import Net, classifier, save
from tests.helpers.twins import Trained, export, train

GREY = (1, 28, 28)


def guess(path: Path) -> tuple[str | None, str]:
    found = open_model(path).pixels
    assert found is not None
    assert found.origin == "guessed"
    return found.preset, found.reason


@pytest.mark.parametrize("preset", ["byte", "imagenet-bgr-mean"])
def test_a_first_layer_that_varies_for_large_values_alone(tmp_path: Path, preset: str) -> None:
    given = train("byte", 3)
    if preset == "imagenet-bgr-mean":  # the mean of channels is near 0 without that of the pixels
        means = given.first.sum(axis=(2, 3)) @ np.array([103.939, 116.779, 123.68])
        norm = (given.norms[0][0], given.norms[0][1], given.norms[0][2] - means, given.norms[0][3])
        given = Trained(given.first, given.second, (norm, given.norms[1]), given.head)
    path = export(tmp_path / "net.onnx", given, merged=True)
    found, reason = guess(path)
    assert found == preset
    assert "hardly varies" in reason
    evidence = infer_pixels(open_model(path))
    assert evidence is not None
    assert not evidence.sure


@pytest.mark.parametrize("preset", ["unit", "symmetric", "imagenet"])
def test_other_first_layers_are_no_such_hint(tmp_path: Path, preset: str) -> None:
    found = infer_pixels(open_model(export(tmp_path / "net.onnx", train(preset), merged=True)))
    assert found is not None
    assert "hardly varies" not in found.reason


def picture_network(path: Path, low: float, high: float, factor: int = 1, last: bool = False) -> Path:
    """The image itself, blurred a little, cut off outside `low` to `high`, and repeated to `factor` times the size."""
    net = Net(("N", 32, 32, 3) if last else ("N", 3, "h", "w"))
    kernel: NDArray[Any] = np.zeros((3, 3, 3, 3))
    for channel in range(3):
        kernel[channel, channel] = np.outer([0.05, 0.9, 0.05], [0.05, 0.9, 0.05])
    x = net.add("Transpose", "image", perm=[0, 3, 1, 2]) if last else "image"
    x = net.add("Conv", x, net.weight(kernel), pads=[1] * 4)
    x = net.add("Clip", x, net.weight(np.float32(low)), net.weight(np.float32(high)))
    if factor > 1:
        x = net.add("Resize", x, "", net.weight(np.array([1, 1, factor, factor], np.float32)), mode="nearest")
    return save(net.model([net.add("Transpose", x, perm=[0, 2, 3, 1]) if last else x]), path)


@pytest.mark.parametrize(
    ("low", "high", "factor", "last", "preset"),
    [(0, 1, 1, False, "unit"), (0, 1, 2, False, "unit"), (0, 1, 1, True, "unit"), (1, 255, 1, False, "byte")],
)
def test_an_output_that_repeats_the_image(
    tmp_path: Path, low: float, high: float, factor: int, last: bool, preset: str
) -> None:
    path = picture_network(tmp_path / "net.onnx", low, high, factor, last)
    scores = score_pictures(open_model(path))
    assert min(scores, key=lambda name: scores[name]) == preset
    assert scores[preset] < 0.02
    found, reason = guess(path)
    assert found == preset
    assert "its output repeats the image" in reason


def test_an_output_of_another_kind_is_no_picture(tmp_path: Path) -> None:
    assert score_pictures(open_model(save(classifier(), tmp_path / "net.onnx"))) == {}
    net = Net(("N", 3, 16, 16))
    path = save(net.model([net.conv("image", 3, 1, pads=[1] * 4)]), tmp_path / "depth.onnx")
    assert score_pictures(open_model(path)) == {}


def written_by(path: Path, producer: str, shape: tuple[int, int, int] = (3, 16, 16), *, dense: bool = True) -> Path:
    proto: onnx.ModelProto = classifier(("N", *shape))
    proto.producer_name = producer
    classes = proto.graph.output[0]
    if dense:
        for size in (1, 10):
            classes.type.tensor_type.shape.dim.add().dim_value = size
    return save(proto, path)


@pytest.mark.parametrize(
    ("producer", "shape", "dense", "preset", "words"),
    [
        ("onnx-caffe2", (3, 16, 16), True, "imagenet-bgr-mean", "Caffe"),
        ("pytorch", GREY, True, "mnist", "28×28 grey"),
        ("pytorch", GREY, False, "symmetric", "nothing states it"),
        ("tf2onnx", GREY, True, "symmetric", ""),
    ],
)
def test_what_exporters_usually_take(
    tmp_path: Path, producer: str, shape: tuple[int, int, int], dense: bool, preset: str, words: str
) -> None:
    path = written_by(tmp_path / "net.onnx", producer, shape, dense=dense)
    found, reason = guess(path)
    if preset == "symmetric":
        assert found != "mnist"
    else:
        assert found == preset
        assert words in reason


def test_pytorch_classifiers_take_imagenet_unless_first_layers_say_otherwise(tmp_path: Path) -> None:
    path = written_by(tmp_path / "net.onnx", "pytorch")
    evidence = infer_pixels(open_model(path))
    assert evidence is not None
    lead = evidence.scores["imagenet"] - evidence.scores[evidence.preset]
    found, reason = guess(path)
    assert found == ("imagenet" if lead < 0.02 else evidence.preset)
    assert reason == ("PyTorch's classifiers mostly take it" if lead < 0.02 else evidence.reason)
