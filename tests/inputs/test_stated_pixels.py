"""What the user states of pixels: presets in options, in TOML and in Python, and names that are of no model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config, ModelOptions, load_config, load_sidecar
from onnxspace.inputs.pixel_presets import PRESETS, name_range
from onnxspace.inputs.pixel_record import PixelRecord, parse_pixel_record
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.stated_pixels import Pixels, StatedPixels, resolve_config

A, B = Path("zoo/a.onnx"), Path("zoo/b.onnx")


def stated(pixels: Pixels, config: Config | None = None, model: Path = A) -> ModelOptions:
    return resolve_config(config or Config(), [A, B], pixels).options(model)


def written(folder: Path, text: str) -> Config:
    (folder / "onnxspace.toml").write_text(text, "utf-8")
    return load_config(folder / "onnxspace.toml")


@pytest.mark.parametrize("pixels", ["unit", ["unit"], {"a": "unit"}, StatedPixels(("unit",)), ["byte", "a.onnx=unit"]])
def test_presets_for_all_and_for_one(pixels: Pixels) -> None:
    assert stated(pixels).pixels == "unit"
    assert (stated(pixels).origin, stated(pixels).source) == ("stated", "--pixels")


def test_a_value_for_one_model_comes_before_one_for_all() -> None:
    pixels = StatedPixels(("a=imagenet", "byte"), ("32", "zoo/a.onnx=64x48"), ("bgr", "a=RGB"))
    first, second = stated(pixels), stated(pixels, model=B)
    assert (first.pixels, first.size, first.color) == ("imagenet", (64, 48), "RGB")
    assert (second.pixels, second.open_size, second.color) == ("byte", (32, 32), "BGR")


def test_a_preset_replaces_the_numbers_of_a_file(tmp_path: Path) -> None:
    config = written(tmp_path, '[models.a]\nscale = 1\nmean = [1, 2, 3]\nstd = 2\ncolor = "BGR"\nsize = 32\n')
    found = stated("imagenet", config)
    assert (found.pixels, found.scale, found.mean, found.std) == ("imagenet", None, None, None)
    assert (found.color, found.size) == (None, (32, 32))
    assert stated(StatedPixels(color=("GREY",)), config).mean == (1.0, 2.0, 3.0)
    assert stated("unit", config).color == "BGR"


def test_presets_in_toml_and_sidecars(tmp_path: Path) -> None:
    found = stated(None, written(tmp_path, '[models."a.onnx"]\npixels = "clip"\n'))
    assert (found.pixels, found.origin, found.source) == ("clip", "stated", "onnxspace.toml [models.a.onnx]")
    (tmp_path / "net.onnxspace.toml").write_text('pixels = "byte"\n', "utf-8")
    assert load_sidecar(tmp_path / "net.onnx").pixels == "byte"


def test_a_sidecar_of_a_conversion_is_read_not_stated(tmp_path: Path) -> None:
    (tmp_path / "net.onnxspace.toml").write_text("# Written by `onnxspace convert`; ...\nscale = 1\n", "utf-8")
    found = load_sidecar(tmp_path / "net.onnx")
    assert (found.origin, found.source) == ("read", "net.onnxspace.toml of its conversion")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('pixels = "imgnet"', "did you mean imagenet"),
        ("pixels = 3", "there are unit, symmetric, byte"),
        ('pixels = "unit"\nscale = 1', "Leave out pixels, or the other three"),
        ('origin = "read"', "there is no key 'origin'"),
    ],
)
def test_invalid_tables(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        written(tmp_path, f"[models.a]\n{text}\n")
    assert "onnxspace.toml [models.a]" in str(caught.value)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        ("imagnet", "--pixels imagnet: there is no preset of pixels 'imagnet'; did you mean imagenet"),
        ({"resnet": "unit"}, "--pixels resnet=unit: there is no model 'resnet'; there are a, b."),
        ({"a.onx": "unit"}, "did you mean a.onnx"),
        (StatedPixels(size=("axb",)), "--size axb: size must be one number"),
        (StatedPixels(size=("0",)), "from 1 to 8192 pixels"),
        (StatedPixels(color=("c=RGB",)), "--color c=RGB: there is no model 'c'"),
        (StatedPixels(color=("YUV",)), "there is no color 'YUV'; there are RGB, BGR, GREY"),
    ],
)
def test_invalid_statements(pixels: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        stated(pixels)


def test_a_table_is_of_a_model_of_the_run_or_of_a_file(tmp_path: Path) -> None:
    config = written(tmp_path, '[models.resnt50]\ncolor = "BGR"\n')
    models = [tmp_path / "resnet50.onnx"]
    with pytest.raises(ConfigError, match=r"\[models.resnt50\]: there is no model 'resnt50'; did you mean resnet50"):
        resolve_config(config, models)
    assert resolve_config(config, models, whole=False).models == config.models
    (tmp_path / "resnt50.onnx").touch()
    assert resolve_config(config, models).models == config.models


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_the_name_of_its_values(name: str) -> None:
    one = PRESETS[name]
    same = {"inception": "symmetric", "yolo": "unit"}.get(name, name)
    assert name_range(one.scale, one.mean, one.std, one.color or "RGB") == same


def test_records_survive_json_and_are_checked() -> None:
    record = PixelRecord.of(Preprocess(3, 4, scale=1.0, mean=(1.0, 2.0, 3.0), std=(4.0,)), "guessed", "because", ("range",))
    content: dict[str, Any] = {**vars(record), "size": [3, 4], "mean": [1, 2, 3], "std": [4], "guessed": ["range"]}
    assert parse_pixel_record(content) == record
    assert parse_pixel_record(None) is None
    wrongs: list[tuple[str, Any]] = [
        ("size", [0, 1]),
        ("origin", "sure"),
        ("mean", []),
        ("scale", float("nan")),
        ("guessed", [1]),
    ]
    wrongs += [("guessed", [["range"]]), ("std", [0]), ("std", [True]), ("mean", [10**400])]
    for key, wrong in wrongs:
        with pytest.raises(ValueError, match="pixels"):
            parse_pixel_record(content | {key: wrong})
