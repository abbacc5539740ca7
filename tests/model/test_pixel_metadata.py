"""What a file's own metadata states of its pixels, read from files that are built here with one metadata each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.model.model import Model, open_model
from tests.helpers.nets import classifier, save

OPEN, FIXED = ("N", 3, "h", "w"), ("N", 3, 16, 16)
ULTRALYTICS = {
    "author": "Ultralytics", "task": "detect", "stride": "32", "names": "{0: 'person'}", "imgsz": "[32, 64]", "version": "8.3.0"
}  # fmt: skip


def opened(folder: Path, metadata: dict[str, str], shape: Any = OPEN, options: ModelOptions | None = None) -> Model:
    proto = classifier(shape)
    for key, value in metadata.items():
        proto.metadata_props.add(key=key, value=value)
    return open_model(save(proto, folder / "net.onnx"), options=options)


def pixels(folder: Path, metadata: dict[str, str], shape: Any = OPEN) -> PixelRecord:
    found = opened(folder, metadata, shape).pixels
    assert found is not None
    return found


def test_nothing_written_is_guessed(tmp_path: Path) -> None:
    found = pixels(tmp_path, {"author": "someone"})
    assert (found.origin, found.preset, found.size) == ("guessed", "symmetric", (224, 224))
    assert found.guessed == ("size", "color", "range")


def test_ultralytics(tmp_path: Path) -> None:
    found = pixels(tmp_path, ULTRALYTICS)
    assert (found.origin, found.preset, found.color, found.size) == ("read", "unit", "RGB", (32, 64))
    assert found.guessed == ()
    assert "Ultralytics" in found.reason


def test_fixed_axes_come_before_the_size_in_the_metadata(tmp_path: Path) -> None:
    model = opened(tmp_path, ULTRALYTICS, ("N", 3, 16, 16))
    found = model.pixels
    assert found is not None
    assert (found.size, found.preset, found.guessed) == ((16, 16), "unit", ())
    assert "the size in its metadata is not used (it describes images of 32×64 pixels" in model.warnings[0]


@pytest.mark.parametrize("missing", ["author", "task", "names", "stride"])
def test_parts_of_ultralytics_metadata_do_not_suffice(tmp_path: Path, missing: str) -> None:
    """YOLOv5 writes stride and names alone, and its classifiers take ImageNet's range."""
    assert pixels(tmp_path, {key: value for key, value in ULTRALYTICS.items() if key != missing}, FIXED).origin == "guessed"


def test_a_size_that_is_none_is_a_warning(tmp_path: Path) -> None:
    model = opened(tmp_path, ULTRALYTICS | {"imgsz": "[640, inf]"})
    assert "net.onnx: its metadata is not used" in model.warnings[0]
    assert model.pixels is not None
    assert model.pixels.origin == "guessed"


@pytest.mark.parametrize(
    ("word", "ends"),
    [
        ("NominalRange_0_255", (0, 255)), ("Normalized_0_1", (0, 1)), ("Normalized_1_1", (-1, 1)),
        ("NominalRange_16_235", (16, 235)),
    ],
)  # fmt: skip
def test_onnx_image_metadata(tmp_path: Path, word: str, ends: tuple[float, float]) -> None:
    stated = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": word, "Image.ColorSpaceGamma": "SRGB"}
    found = pixels(tmp_path, stated)
    values = [(end * found.scale - found.mean[0]) / found.std[0] for end in (0, 255)]
    assert values == pytest.approx(ends)
    assert (found.origin, found.color, found.guessed) == ("read", "BGR", ("size",))
    assert "Image.NominalPixelRange" in found.reason


def test_a_pixel_format_alone_states_no_range(tmp_path: Path) -> None:
    found = pixels(tmp_path, {"Image.BitmapPixelFormat": "Bgr8"})
    assert (found.color, found.origin, found.guessed) == ("BGR", "guessed", ("size", "range"))


def test_a_grey_format_of_a_grey_network(tmp_path: Path) -> None:
    found = pixels(
        tmp_path, {"Image.BitmapPixelFormat": "Gray8", "Image.NominalPixelRange": "Normalized_0_1"}, ("N", 1, 16, 16)
    )
    assert (found.color, found.preset, found.origin) == ("GREY", "unit", "read")


@pytest.mark.parametrize(
    "entry", [{"Image.BitmapPixelFormat": "Yuv"}, {"Image.NominalPixelRange": "0..1"}, {"Image.ColorSpaceGamma": "Linear"}]
)
def test_words_that_no_standard_lists_are_a_warning(tmp_path: Path, entry: dict[str, str]) -> None:
    model = opened(tmp_path, {"Image.NominalPixelRange": "Normalized_0_1"} | entry)
    assert model.pixels is not None
    assert model.pixels.origin == "guessed"
    assert next(iter(entry)) in model.warnings[0]


def test_custom_vision(tmp_path: Path) -> None:
    stated = {
        "Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "Normalized_0_1",
        "CustomVision.Preprocess.TargetHeight": "300", "CustomVision.Preprocess.TargetWidth": "200",
        "CustomVision.Preprocess.NormalizeMean": "[0.1, 0.2, 0.3]", "CustomVision.Preprocess.NormalizeStd": "[0.5, 0.5, 0.5]",
    }  # fmt: skip
    found = pixels(tmp_path, stated)
    assert (found.size, found.color, found.mean, found.std) == ((300, 200), "RGB", (0.1, 0.2, 0.3), (0.5,))
    assert (found.scale, found.origin) == (1 / 255, "read")


def test_timm_configuration_in_the_metadata(tmp_path: Path) -> None:
    config = (
        '{"input_size": [3, 48, 32], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "interpolation": "bicubic"}'
    )
    found = pixels(tmp_path, {"pretrained_cfg": config})
    assert (found.preset, found.size, found.color, found.origin) == ("imagenet", (48, 32), "RGB", "read")


def test_the_graph_tells_the_order_of_colours(tmp_path: Path) -> None:
    for name, means, color in (
        ("rgb", (0.485, 0.456, 0.406), "RGB"),
        ("bgr", (103.939, 116.779, 123.68), "BGR"),
        ("other", (1e2, 110.0, 120.0), "RGB"),
    ):
        proto = classifier(("N", 3, 16, 16))
        scaled = helper.make_node("Sub", [proto.graph.input[0].name, "by"], ["scaled"])
        proto.graph.node[0].input[0] = "scaled"
        proto.graph.node.insert(0, scaled)
        proto.graph.initializer.append(helper.make_tensor("by", TensorProto.FLOAT, [1, 3, 1, 1], means))
        found = open_model(save(proto, tmp_path / f"{name}.onnx")).pixels
        assert found is not None
        assert (found.origin, found.color) == ("read", color)
        assert found.guessed == (("color",) if name == "other" else ())


def test_a_scaler_of_images_is_arithmetic_of_the_graph(tmp_path: Path) -> None:
    """ImageScaler, an operator of the first versions that Windows ML's converters write."""
    proto = classifier(("N", 3, 16, 16))
    scaler = helper.make_node("ImageScaler", ["image"], ["scaled"], scale=1.0, bias=[-103.939, -116.779, -123.68])
    proto.graph.node[0].input[0] = "scaled"
    proto.graph.node.insert(0, scaler)
    proto.opset_import[0].version = 7
    found = open_model(save(proto, tmp_path / "net.onnx")).pixels
    assert found is not None
    assert (found.preset, found.origin, found.color, found.guessed) == ("byte", "read", "BGR", ())


def test_model_api(tmp_path: Path) -> None:
    stated = {
        "model_info mean_values": "123.675 116.28 103.53", "model_info scale_values": "58.395 57.12 57.375",
        "model_info reverse_input_channels": "True",
    }  # fmt: skip
    found = pixels(tmp_path, stated)
    assert (found.preset, found.color, found.origin) == ("imagenet", "RGB", "read")


def test_provenance_of_a_conversion(tmp_path: Path) -> None:
    stated = {
        "onnxspace.source": "keras:ResNet50", "onnxspace.input.scale": "1.0", "onnxspace.input.color": "BGR",
        "onnxspace.input.mean": "(103.939, 116.779, 123.68)", "onnxspace.input.std": "(1.0,)", "onnxspace.input.size": "(40, 40)",
    }  # fmt: skip
    found = pixels(tmp_path, stated)
    assert (found.preset, found.color, found.size) == ("imagenet-bgr-mean", "BGR", (40, 40))
    assert "keras:ResNet50" in found.reason


def test_means_of_three_channels_are_not_those_of_a_grey_network(tmp_path: Path) -> None:
    model = opened(tmp_path, {"model_info mean_values": "1 2 3"}, ("N", 1, 16, 16))
    found = model.pixels
    assert found is not None
    assert (found.origin, found.color) == ("guessed", "GREY")
    assert "the range in its metadata is not used (it describes images of three channels" in model.warnings[0]


def test_the_graph_decides_where_nothing_is_written(tmp_path: Path) -> None:
    proto = classifier(("N", 3, 16, 16))
    scaled = helper.make_node("Mul", [proto.graph.input[0].name, "by"], ["scaled"])
    proto.graph.node[0].input[0] = "scaled"
    proto.graph.node.insert(0, scaled)
    proto.graph.initializer.append(helper.make_tensor("by", TensorProto.FLOAT, [], [1 / 255]))
    found = open_model(save(proto, tmp_path / "net.onnx")).pixels
    assert found is not None
    assert (found.preset, found.origin, found.reason) == ("byte", "read", "the graph rescales its input")


def byte_classifier() -> onnx.ModelProto:
    """A classifier with an 8-bit input."""
    proto = classifier(("N", 3, 16, 16))
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    proto.graph.node.insert(0, helper.make_node("Cast", [proto.graph.input[0].name], ["cast"], to=TensorProto.FLOAT))
    proto.graph.node[1].input[0] = "cast"
    return proto


def test_an_8_bit_input_refuses_ranges_of_less_than_32_values(tmp_path: Path) -> None:
    file = save(byte_classifier(), tmp_path / "net.onnx")
    assert open_model(file, options=ModelOptions(scale=32 / 255)).preprocess.scale == 32 / 255
    for stated in (ModelOptions(scale=31 / 255), ModelOptions(pixels="imagenet"), ModelOptions(std=(9.0,), scale=1.0)):
        with pytest.raises(ConfigError, match="can't hold the range that is stated"):
            open_model(file, options=stated)


def test_no_metadata_puts_other_values_into_an_8_bit_tensor(tmp_path: Path) -> None:
    proto = byte_classifier()
    onnx.helper.set_model_props(proto, {"Image.NominalPixelRange": "Normalized_0_1", "Image.BitmapPixelFormat": "Bgr8"})
    found = open_model(save(proto, tmp_path / "net.onnx")).pixels
    assert found is not None
    assert (found.preset, found.color, found.origin) == ("byte", "BGR", "read")


def test_what_the_user_states_comes_first(tmp_path: Path) -> None:
    model = opened(tmp_path, ULTRALYTICS, options=ModelOptions(pixels="imagenet-bgr-mean", size=(16, 16)))
    found = model.pixels
    assert found is not None
    assert (found.origin, found.preset, found.color, found.size) == ("stated", "imagenet-bgr-mean", "BGR", (16, 16))


def test_means_follow_the_order_that_the_user_states(tmp_path: Path) -> None:
    """ImageNet's statistics of a network that takes BGR are those of blue, green, red."""
    model = opened(tmp_path, {}, options=ModelOptions(pixels="imagenet", color="BGR", size=(16, 16)))
    assert model.preprocess.mean == (0.406, 0.456, 0.485)
    config = '{"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}'
    assert opened(tmp_path, {"pretrained_cfg": config}, options=ModelOptions(color="BGR")).preprocess.mean == (0.3, 0.2, 0.1)


def test_denotations_name_the_image_and_its_channels(tmp_path: Path) -> None:
    proto = classifier((1, 3, 3, 3))
    for dim, word in zip(
        proto.graph.input[0].type.tensor_type.shape.dim, ("BATCH", "CHANNEL", "FEATURE", "FEATURE"), strict=True
    ):
        dim.denotation = f"DATA_{word}"
    found = open_model(save(proto, tmp_path / "net.onnx"))
    assert (found.image.layout, found.image.assumed) == ("NCHW", ())


def test_an_input_that_is_denoted_an_image_is_the_image(tmp_path: Path) -> None:
    proto = classifier(("N", 3, 16, 16))
    own = proto.graph.input[0].name
    proto.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ("N", 3, 16, 16)))
    proto.graph.node.append(helper.make_node("Relu", ["other"], ["more"]))
    proto.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ("N", 3, 16, 16)))
    with pytest.raises(ModelError, match="takes several images"):
        open_model(save(proto, tmp_path / "net.onnx"))
    proto.graph.input[0].type.denotation = "IMAGE"
    assert open_model(save(proto, tmp_path / "net.onnx")).image.name == own
