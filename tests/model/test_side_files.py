"""What files beside a model state of its pixels: written here as the tools write them, and as they must not be used."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxspace.inputs.pixel_record import PixelRecord
from onnxspace.model.model import Model, open_model
from onnxspace.model.pixel_metadata.hugging_face import read_processor
from onnxspace.model.pixel_metadata.image_metadata import read_image_metadata
from onnxspace.model.pixel_metadata.openvino import read_arguments
from onnxspace.model.pixel_metadata.paddle import read_operations
from onnxspace.model.pixel_metadata.timm import read_timm_config
from tests.helpers.examples import examples
from tests.helpers.nets import classifier, save

OPEN = ("N", 3, "h", "w")
VIT = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225], "image_processor_type": "ViTImageProcessor", "resample": 2,
    "rescale_factor": 0.00392156862745098, "size": {"height": 32, "width": 48},
}  # fmt: skip
RECOGNISER = """
Global: {model_name: PP-OCRv5_mobile_rec}
PreProcess:
  transform_ops:
  - DecodeImage: {channel_first: false, img_mode: BGR}
  - MultiLabelEncode: {gtc_encode: NRTRLabelEncode}
  - RecResizeImg:
      image_shape: [3, 48, 320]
  - KeepKeys:
"""
DETECTOR = """
PreProcess:
  transform_ops:
  - DecodeImage: {img_mode: BGR}
  - DetResizeForTest: {resize_long: 960}
  - NormalizeImage:
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]
      order: hwc
      scale: 1./255.
  - ToCHWImage:
"""
ZOO = """
files:
  - {name: public/net.onnx, size: 12}
input_info:
  - {name: data, shape: [1, 3, 32, 64], layout: NCHW}
model_optimizer_args:
  - --mean_values=data[123.675,116.28,103.53]
  - --scale_values=data[58.395,57.12,57.375]
  - --reverse_input_channels
"""


def opened(folder: Path, shape: Any = OPEN, name: str = "net.onnx") -> Model:
    folder.mkdir(exist_ok=True)
    return open_model(save(classifier(shape), folder / name))


def pixels(folder: Path, shape: Any = OPEN, name: str = "net.onnx") -> PixelRecord:
    model = opened(folder, shape, name)
    assert model.pixels is not None
    assert model.warnings == ()
    return model.pixels


def place(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def test_hugging_face_processor(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    found = pixels(tmp_path)
    assert (found.preset, found.size, found.color, found.origin) == ("imagenet", (32, 48), "RGB", "read")
    assert (found.guessed, found.reason) == ((), "preprocessor_config.json beside it")


def test_hugging_face_processor_above_the_folder_onnx(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    found = pixels(tmp_path / "onnx")
    assert (found.preset, found.reason) == ("imagenet", "preprocessor_config.json in the folder above")
    assert pixels(tmp_path / "zoo").origin == "guessed"


def test_a_processor_counts_for_all_files_of_its_folder(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    save(classifier(), tmp_path / "quantised.onnx")
    assert pixels(tmp_path).reason == "preprocessor_config.json beside it, for all 2 ONNX files there"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"do_rescale": False}, (1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "RGB")),
        ({"do_normalize": False}, (0.00392156862745098, (0.0,), (1.0,), "RGB")),
        ({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, (0.00392156862745098, (0.5,), (0.5,), "RGB")),
        (
            {"do_flip_channel_order": True},
            (0.00392156862745098, (0.406, 0.456, 0.485), (0.225, 0.224, 0.229), "BGR"),
        ),
        (
            {"rescale_offset": True, "rescale_factor": 1 / 127.5, "do_normalize": False},
            (1 / 127.5, (1.0,), (1.0,), "RGB"),
        ),
    ],
)  # fmt: skip
def test_hugging_face_options(tmp_path: Path, change: dict[str, Any], expected: tuple[Any, ...]) -> None:
    place(tmp_path, "preprocessor_config.json", VIT | change)
    found = pixels(tmp_path)
    assert (found.scale, found.mean, found.std, found.color) == expected
    assert found.origin == "read"


def test_hugging_face_crop_size(tmp_path: Path) -> None:
    config = VIT | {"do_center_crop": True, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 32}}
    place(tmp_path, "preprocessor_config.json", config)
    assert pixels(tmp_path).size == (24, 24)


@pytest.mark.parametrize(
    "config",
    [
        {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000, "do_normalize": True},
        VIT | {"image_processor_type": "ImageGPTImageProcessor"},
        {"image_processor_type": "Pix2StructImageProcessor", "do_normalize": True},
        {"processor_class": "BertProcessor"},
    ],
)
def test_other_processors_state_no_range(tmp_path: Path, config: dict[str, Any]) -> None:
    place(tmp_path, "preprocessor_config.json", config)
    assert pixels(tmp_path).origin == "guessed"


def test_timm_configuration_beside_the_file(tmp_path: Path) -> None:
    config = {"architecture": "resnet18", "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 64, 64]}}
    place(tmp_path, "config.json", config)
    found = pixels(tmp_path)
    assert (found.preset, found.size, found.origin) == ("symmetric", (64, 64), "read")


def test_the_configuration_of_a_transformers_model_states_no_pixels(tmp_path: Path) -> None:
    place(tmp_path, "config.json", {"model_type": "vit", "image_size": 224})
    assert pixels(tmp_path).origin == "guessed"


def test_paddle_recogniser(tmp_path: Path) -> None:
    place(tmp_path, "inference.yml", RECOGNISER)
    found = pixels(tmp_path)
    assert (found.preset, found.color, found.size, found.origin) == ("symmetric", "BGR", (48, 320), "read")


def test_paddle_detector(tmp_path: Path) -> None:
    """Means count in the order of the decoded image, which is BGR."""
    place(tmp_path, "inference.yaml", DETECTOR)
    found = pixels(tmp_path)
    assert (found.scale, found.mean, found.color) == (1 / 255, (0.485, 0.456, 0.406), "BGR")
    assert (found.origin, found.guessed) == ("read", ("size",))


def test_an_inference_file_is_not_that_of_another_model_beside_it(tmp_path: Path) -> None:
    place(tmp_path, "inference.yml", DETECTOR)
    save(classifier(), tmp_path / "other.onnx")
    assert pixels(tmp_path).origin == "guessed"
    assert pixels(tmp_path, name="inference.onnx").origin == "read"


def test_openvino_model_zoo(tmp_path: Path) -> None:
    place(tmp_path, "model.yml", ZOO)
    save(classifier(), tmp_path / "other.onnx")
    found = pixels(tmp_path)
    assert (found.preset, found.color, found.size, found.origin) == ("imagenet", "RGB", (32, 64), "read")
    assert pixels(tmp_path, name="other.onnx").origin == "guessed"


@pytest.mark.parametrize(
    "part",
    [
        "<meta_data><cli_parameters>{}</cli_parameters></meta_data>",
        "<rt_info><conversion_parameters>{}</conversion_parameters></rt_info>",
        "<rt_info><model_info>{}</model_info></rt_info>",
    ],
)
def test_openvino_ir(tmp_path: Path, part: str) -> None:
    entries = (
        '<mean_values value="data[127.5,127.5,127.5]"/><scale_values value="[127.5]"/><reverse_input_channels value="True"/>'
    )
    place(tmp_path, "net.xml", f'<?xml version="1.0"?><net name="net">{part.format(entries)}<layers/></net>')
    found = pixels(tmp_path)
    assert (found.preset, found.color, found.origin) == ("symmetric", "RGB", "read")
    assert "mean_values" in found.reason


def test_custom_vision_manifest_names_the_model(tmp_path: Path) -> None:
    stated = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
    place(tmp_path, "metadata_properties.json", stated)
    place(tmp_path, "cvexport.manifest", {"ModelFileName": "net.onnx", "LabelFileName": "labels.txt", "Platform": "ONNX"})
    place(tmp_path, "labels.txt", "cat\ndog\n")
    found = pixels(tmp_path)
    assert (found.preset, found.color, found.origin) == ("byte", "BGR", "read")
    assert pixels(tmp_path, name="other.onnx").origin == "guessed"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("preprocessor_config.json", "[1]", "not an object"),
        ("preprocessor_config.json", "{" * 100_000, "not an object"),
        ("preprocessor_config.json", VIT | {"image_mean": ["a", "b", "c"]}, "image_mean is not a number"),
        ("preprocessor_config.json", VIT | {"image_std": [0, 1, 1]}, "image_std is zero"),
        ("preprocessor_config.json", VIT | {"rescale_factor": float("nan")}, "rescale_factor is not a number"),
        ("preprocessor_config.json", VIT | {"size": {"height": -1, "width": 5}}, "size is not a size"),
        ("preprocessor_config.json", " " * (2**20 + 1), "bytes"),
        ("config.json", {"pretrained_cfg": []}, "pretrained_cfg is not an object"),
        ("inference.yml", "a: [", "not valid YAML"),
        ("inference.yml", "!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("inference.yml", "PreProcess: {transform_ops: 5}", "not a list of operations"),
        ("net.xml", "<!DOCTYPE net [<!ENTITY a 'b'>]><net>&a;</net>", "defines entities"),
        ("net.xml", "<net>", "not valid XML"),
    ],
)
def test_a_broken_side_file_is_a_warning_that_names_it(tmp_path: Path, name: str, content: Any, why: str) -> None:
    place(tmp_path, name, content)
    model = opened(tmp_path)
    assert model.pixels is not None
    assert model.pixels.origin == "guessed"
    (warning,) = model.warnings
    assert name in warning
    assert why in warning
    assert "--pixels" in warning


def test_a_side_file_of_other_images_is_of_another_model(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    for shape, why in ((("N", 3, 16, 16), "32×48"), (("N", 1, "h", "w"), "three channels")):
        model = opened(tmp_path, shape)
        assert model.pixels is not None
        assert model.pixels.origin == "guessed"
        assert why in model.warnings[0]


def test_side_files_are_regular_files_of_the_models_folders(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "zoo"
    elsewhere.mkdir()
    folder.mkdir()
    place(elsewhere, "secret.json", VIT)
    (folder / "preprocessor_config.json").symlink_to(elsewhere / "secret.json")
    os.mkfifo(folder / "config.json")
    model = opened(folder)
    assert model.pixels is not None
    assert model.pixels.origin == "guessed"
    assert "link to another folder" in model.warnings[0]
    assert "config.json" in model.warnings[1]


def test_the_hugging_face_cache_links_model_and_processor_into_one_folder(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1a2b"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    save(classifier(OPEN), blobs / "aa.onnx")
    place(blobs, "bb", VIT)
    (snapshot / "model.onnx").symlink_to(blobs / "aa.onnx")
    (snapshot / "preprocessor_config.json").symlink_to(blobs / "bb")
    found = open_model(snapshot / "model.onnx").pixels
    assert found is not None
    assert (found.preset, found.origin) == ("imagenet", "read")


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10**30)
    | st.floats()
    | st.sampled_from(["", "1/0", "BGR", "1e999", "x", "[1,2", "0"])
)
_KEYS = st.sampled_from(
    [
        "do_rescale", "do_normalize", "image_mean", "image_std", "rescale_factor", "size", "crop_size", "do_center_crop", "height",
        "width", "mean", "std", "input_size", "PreProcess", "transform_ops", "NormalizeImage", "RecResizeImg", "DecodeImage", "img_mode",
        "image_shape", "mean_values", "scale_values", "input_shape", "reverse_input_channels", "Image.BitmapPixelFormat",
        "Image.NominalPixelRange", "CustomVision.Preprocess.TargetHeight", "do_flip_channel_order", "include_top",
    ]
)  # fmt: skip
_CONTENT = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=25
)


@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_KEYS, _CONTENT, max_size=8))
def test_random_content_gives_options_or_a_reason(content: dict[str, Any]) -> None:
    texts = {key: str(value) for key, value in content.items()}
    for read, given_content in (
        (read_processor, content), (read_timm_config, content), (read_operations, content), (read_image_metadata, content),
        (read_arguments, texts),
    ):  # fmt: skip
        try:
            options = read(given_content, "a file")  # type: ignore[operator]
        except ValueError:
            continue
        numbers = (options.scale or 0, *(options.mean or ()), *(options.std or (1,)))
        assert all(math.isfinite(number) for number in numbers)
        assert 0 not in (options.scale, *(options.std or ()))
        assert options.size is None or all(1 <= side <= 8192 for side in options.size)


TIMM = {
    "pretrained_cfg": {
        "input_size": [3, 32, 48], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.875, "interpolation": "bicubic",
    }
}  # fmt: skip


def test_statements_that_contradict_each_other_are_a_warning(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    place(tmp_path, "config.json", TIMM)
    model = opened(tmp_path)
    assert model.pixels is not None
    assert model.pixels.preset == "imagenet"
    (warning,) = model.warnings
    assert "preprocessor_config.json beside it (imagenet) and pretrained_cfg in config.json beside it (symmetric)" in warning
    assert "the former counts" in warning


def test_metadata_that_contradicts_a_side_file_counts(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT)
    proto = classifier(OPEN)
    proto.metadata_props.add(key="pretrained_cfg", value=json.dumps(TIMM["pretrained_cfg"]))
    model = open_model(save(proto, tmp_path / "net.onnx"))
    assert model.pixels is not None
    assert model.pixels.preset == "symmetric"
    assert "pretrained_cfg in its metadata (symmetric) and preprocessor_config.json beside it (imagenet)" in model.warnings[0]


def test_statements_that_agree_in_other_words_are_no_contradiction(tmp_path: Path) -> None:
    place(tmp_path, "preprocessor_config.json", VIT | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    place(tmp_path, "config.json", TIMM)
    assert pixels(tmp_path).preset == "symmetric"


def test_crops_and_interpolations_that_are_not_applied_are_in_the_record(tmp_path: Path) -> None:
    place(tmp_path, "config.json", TIMM)
    assert pixels(tmp_path).geometry == "a central crop of 0.875, bicubic"
    crop = {"do_center_crop": True, "crop_size": {"height": 24, "width": 24}, "size": {"shortest_edge": 32}}
    place(tmp_path, "preprocessor_config.json", VIT | crop | {"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    assert pixels(tmp_path).geometry == "a central crop of 0.75"
    place(tmp_path, "preprocessor_config.json", VIT)
    (tmp_path / "config.json").unlink()
    assert pixels(tmp_path).geometry == ""


def test_a_crop_that_is_no_number_is_a_warning(tmp_path: Path) -> None:
    place(tmp_path, "config.json", {"pretrained_cfg": TIMM["pretrained_cfg"] | {"crop_pct": "most"}})
    assert "config.json beside it is not used (crop_pct is not a number)" in opened(tmp_path).warnings[0]
