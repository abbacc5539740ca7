"""Which of several sources decides a model's pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.image_input import ImageInput
from onnxspace.model.model import open_model
from onnxspace.model.pixel_range import GraphRange
from onnxspace.model.pixels import PixelSources, choose_pixels, list_guessed
from tests.helpers.nets import classifier, save

IMAGE = ImageInput("image", "NCHW", 3, None, None, None, TensorProto.FLOAT)
GREY = ImageInput("image", "NCHW", 1, 28, 28, None, TensorProto.FLOAT)
NOTHING = ModelOptions()
STATED = ModelOptions(pixels="byte", origin="stated", source="--pixels")
WRITTEN = ModelOptions(scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.4,), color="RGB", origin="read", source="a file")
GRAPH = GraphRange(0.0, 255.0, "the graph rescales its input")
WEIGHTS = ModelOptions(pixels="imagenet", origin="inferred", source="stored statistics")


def chosen(stated: ModelOptions = NOTHING, image: ImageInput = IMAGE, **sources: Any) -> tuple[Any, ...]:
    found = choose_pixels("net.onnx", image, stated, PixelSources(**sources))
    return found.origin, found.source, found.scale, found.mean


def test_the_first_source_that_states_a_range_decides() -> None:
    sources: dict[str, Any] = {"written": (WRITTEN,), "graph": GRAPH, "weights": WEIGHTS}
    assert chosen(STATED, **sources) == ("stated", "--pixels", 1.0, (0.0,))
    assert chosen(**sources) == ("read", "a file", 1 / 255, (0.1, 0.2, 0.3))
    assert chosen(**sources | {"written": ()})[:3] == ("read", "the graph rescales its input", 1.0)
    assert chosen(weights=WEIGHTS) == ("inferred", "stored statistics", 1 / 255, (0.485, 0.456, 0.406))
    assert chosen() == ("guessed", "nothing states it", 1 / 127.5, (1.0,))


def test_weak_evidence_is_a_guess_with_its_reason() -> None:
    weak = ModelOptions(pixels="unit", origin="guessed", source="unit fits a little better than symmetric")
    assert chosen(weights=weak) == ("guessed", "unit fits a little better than symmetric", 1 / 255, (0.0,))


def test_evidence_of_three_channels_says_nothing_of_a_grey_network() -> None:
    assert chosen(image=GREY, weights=WEIGHTS)[0] == "guessed"


def test_ranges_are_taken_as_a_whole() -> None:
    """A scale that the user states is not mixed with a mean that a file states."""
    assert chosen(ModelOptions(scale=1.0), written=(WRITTEN,)) == ("stated", "the options given", 1.0, None)


def test_size_and_colour_come_from_the_first_that_states_them() -> None:
    first, second = ModelOptions(color="BGR"), ModelOptions(size=(32, 48), color="RGB")
    found = choose_pixels("net.onnx", IMAGE, STATED, PixelSources((first, second)))
    assert (found.color, found.size) == ("BGR", (32, 48))
    assert list_guessed(IMAGE, found, (STATED, first, second)) == ()
    assert list_guessed(IMAGE, found, (STATED,)) == ("size", "color")


def test_a_preset_of_three_channels_is_refused_for_a_grey_network() -> None:
    with pytest.raises(ConfigError, match=r"net\.onnx takes images of 1 channel, but imagenet has a mean for each of three"):
        choose_pixels("net.onnx", GREY, ModelOptions(pixels="imagenet"), PixelSources())
    assert choose_pixels("net.onnx", GREY, ModelOptions(pixels="yolo"), PixelSources()).color is None


@pytest.mark.parametrize(
    ("scale", "zero", "expected"),
    [
        (1 / 255, 0, ("unit", "read")), (0.87 / 255, 0, ("unit", "inferred")), (2 / 255, 128, ("symmetric", "read")),
        (1.0, 0, ("byte", "read")), (4.76 / 255, 114, ("imagenet", "inferred")),
    ],
)  # fmt: skip
def test_the_range_of_an_input_quantiser(tmp_path: Path, scale: float, zero: int, expected: tuple[str, str]) -> None:
    """It is read where it is a usual one. With ImageNet's normalisation it is about [−2.12, 2.64], and dark images don't reach 1."""
    proto = classifier(("N", 3, 16, 16))
    own = proto.graph.input[0].name
    proto.graph.node[0].input[0] = "again"
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["again"]))
    proto.graph.node.insert(0, helper.make_node("QuantizeLinear", [own, "scale", "zero"], ["q"]))
    proto.graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]))
    proto.graph.initializer.append(helper.make_tensor("zero", TensorProto.UINT8, [], [zero]))
    found = open_model(save(proto, tmp_path / "net.onnx")).pixels
    assert found is not None
    assert (found.preset, found.origin) == expected
