"""What a user says beside a model (encoders, sidecars, the configuration, photos) that makes no sense: one sentence, never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from PIL import Image

from tests.cli.test_untrusted_files import node, place, png
from tests.helpers import nets
from tests.helpers.sentences import Cli, assert_sentence, parsed, refused

ENCODERS = {"nowhere": "there is no tensor or node 'nowhere'", "kernel": "'kernel'", "side": "does not depend on the image"}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_encoder_that_can_not_be(cli: Cli, encoder: str) -> None:
    proto = nets.plain_classifier()
    proto.graph.node.append(node("Relu", ["kernel"], "side"))
    nets.save(proto, Path("own.onnx"))
    refused(cli("inspect", "own.onnx", "--encoder", encoder), "own.onnx", ENCODERS[encoder])
    found = cli("score", "good.onnx", "own.onnx", "--encoder", f"own={encoder}", "--images", "2", "--quiet")
    assert found.code == 2
    assert_sentence(found.err, "own.onnx", ENCODERS[encoder])


SIDECARS: dict[str, tuple[bytes, str]] = {
    "broken": (b"[[[", "not valid TOML"),
    "not text": (b"\xff\xfe", "not text in UTF-8"),
    "nested": (b"a = " + b"[" * 5000, "nested too deeply"),
    "unknown key": (b"siez = 3", "there is no key 'siez'; did you mean size"),
    "nasty key": (b'"\\u001b[31m\\n" = 3', "there is no key"),
    "wrong type": (b"encoder = 3", "encoder must be"),
    "wrong word": (b'layout = "HWCN"', "there is no layout 'HWCN'; did you mean"),
    "size not a number": (b'size = "a"', "size must be"),
    "size of another": (b"size = 32", "takes 16×16 images"),
    "division by zero": (b'scale = "1/0"', "scale must be"),
    "not a fraction": (b'scale = "1.2.3/4"', "scale must be"),
    "too large": (b"scale = " + b"9" * 400, "scale must be"),
    "a date": (b"scale = 2020-01-01", "scale must be"),
    "zero": (b"scale = 0", "scale must not be zero"),
    "NaN": (b"scale = nan", "scale must be finite"),
    "infinite": (b"mean = inf", "mean must be finite"),
    "two channels": (b"mean = [1, 2]", "`mean` has 2 values for 3 channels"),
    "zero in std": (b"std = [1, 0, 1]", "std must not be zero"),
    "no name": (b'name = ""', "name must be"),
    "wrong colour": (b'color = "GREY"', "takes three-channel images"),
    "wrong layout": (b'layout = "NHWC"', "16 channels"),
    "wrong input": (b'input = "nope"', "no image input named 'nope'"),
    "wrong encoder": (b'encoder = "nope"', "there is no tensor or node 'nope'"),
}


@pytest.mark.parametrize("name", SIDECARS)
def test_sidecar_that_makes_no_sense(cli: Cli, name: str) -> None:
    content, phrase = SIDECARS[name]
    Path("good.onnxspace.toml").write_bytes(content)
    refused(cli("inspect", "good.onnx"), "good.onnx", phrase)
    nets.save(nets.plain_classifier(9), Path("third.onnx"))
    found = cli("score", "good.onnx", "fine.onnx", "third.onnx", "--images", "2", "--quiet", "--json")
    assert found.code == 2
    assert [model["name"] for model in parsed(found.out)["models"]] == ["fine", "third"]


CONFIGS = {
    "unknown table": (b"[modles.good]", "there is no table 'modles'; did you mean models?"),
    "not a table": (b"models = 3", "one table per model"),
    "not tables": (b"[models]\ngood = 3", "one table per model"),
    "unknown key": (b"[models.good]\nsiez = 3", "[models.good]: there is no key 'siez'; did you mean size"),
    "division by zero": (b'[models.good]\nscale = "1/0"', "[models.good]: scale must be"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_config_that_makes_no_sense(cli: Cli, name: str) -> None:
    content, phrase = CONFIGS[name]
    Path("own.toml").write_bytes(content)
    refused(cli("inspect", "good.onnx", "--config", "own.toml"), "own.toml", phrase)
    refused(cli("score", "good.onnx", "fine.onnx", "--config", "own.toml", "--output", "kept"), "own.toml", phrase)
    assert not Path("kept").exists()


@pytest.mark.parametrize("path", ["gone.toml", "folder", "pipe", "/dev/zero", "good.onnx"])
def test_config_that_is_no_config(cli: Cli, path: str) -> None:
    place("unused", b"")
    refused(cli("score", "good.onnx", "fine.onnx", "--config", path), path)


def truncated_jpeg() -> bytes:
    path = Path("whole.jpg")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return path.read_bytes()[:-500]


PHOTOS: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated.jpg": (lambda path: path.write_bytes(truncated_jpeg()), "truncated"),
    "text.jpg": (lambda path: path.write_text("not a photo"), "is not an image"),
    "empty.png": (lambda path: path.write_bytes(b""), "is not an image"),
    "bomb.png": (lambda path: path.write_bytes(png(60_000, 60_000)), "more than 100000000 pixels"),
    "large.png": (lambda path: path.write_bytes(png(11_000, 11_000)), "11000×11000 pixels"),
    "short.png": (lambda path: path.write_bytes(png(100, 100)), "can't be read as an image"),
    "pipe.jpg": (os.mkfifo, "not a regular file"),
    "zero.jpg": (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
    "dangling.jpg": (lambda path: path.symlink_to("nowhere"), "No such file"),
}


@pytest.mark.parametrize("name", PHOTOS)
def test_broken_photo(cli: Cli, name: str) -> None:
    make, phrase = PHOTOS[name]
    Path("photos").mkdir()
    make(Path("photos", name))
    refused(cli("score", "good.onnx", "fine.onnx", "--probe", "photos", "--output", "kept"), f"photos/{name}", phrase)
    assert not Path("kept").exists()


FOLDERS = {"gone": "does not exist", "good.onnx": "is a file", "pipe": "is a file", "folder": "holds no images"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_probe_folder_without_photos(cli: Cli, folder: str) -> None:
    place("unused", b"")
    refused(cli("score", "good.onnx", "fine.onnx", "--probe", folder), folder, FOLDERS[folder])


def test_nothing_left_to_compare(cli: Cli) -> None:
    found = cli("score", "gone.onnx", "lost.onnx", "--images", "2", "--json")
    assert found.code == 2
    said = parsed(found.out)
    assert (said["models"], said["affinity"], said["rankings"]) == ([], [], {})
    assert [failure["path"] for failure in said["failed"]] == ["gone.onnx", "lost.onnx"]


def test_defect_of_a_library_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(_model: object) -> NoReturn:
        raise RuntimeError("deep\nbelow")

    monkeypatch.setattr("onnxspace.model.describe.describe", stumble)
    refused(cli("inspect", "good.onnx"), "good.onnx", "failed unexpectedly (RuntimeError: deep)")


@pytest.mark.parametrize("arguments", [("score", "good.onnx"), ("inspect",), ("nope",), ("score", "a", "b", "--images", "0")])
def test_usage_error(cli: Cli, arguments: tuple[str, ...]) -> None:
    found = cli(*arguments)
    assert (found.code, found.out) == (2, "")
    assert "Traceback" not in found.err
