"""Licences and sources that are written in a model's file or beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxspace.model.labels import read_labels

CARD = "---\nlicense: {}\ntags:\n- vision\n---\n# A network\n\nlicense: none of this\n"


def read(folder: Path, **metadata: str) -> tuple[str, str]:
    found = read_labels(folder / "net.onnx", metadata, "pytorch 2.6")
    return found.license, found.license_from


@pytest.mark.parametrize("key", ["license", "licence", "License"])
def test_in_metadata(tmp_path: Path, key: str) -> None:
    (tmp_path / "README.md").write_text(CARD.format("mit"))
    assert read(tmp_path, **{key: "Apache-2.0\n"}) == ("Apache-2.0", f"{key} in the file's metadata")


@pytest.mark.parametrize(
    ("text", "word"), [("mit", "mit"), ("[apache-2.0]", "apache-2.0"), ("other\nlicense_name: own-1", "own-1")]
)
def test_in_a_model_card(tmp_path: Path, text: str, word: str) -> None:
    (tmp_path / "README.md").write_text(CARD.format(text))
    assert read(tmp_path) == (word, "README.md beside it")


def test_above_the_folder_onnx(tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "README.md").write_text(CARD.format("mit"))
    assert read(tmp_path / "onnx") == ("mit", "README.md beside it")


@pytest.mark.parametrize("content", [{"license": "bsd"}, {"pretrained_cfg": {"license": "bsd"}}])
def test_in_a_configuration(tmp_path: Path, content: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read(tmp_path) == ("bsd", "config.json beside it")


@pytest.mark.parametrize(
    "text",
    ["", "# A network\nlicense: mit", "---\nlicense: mit\n", "---\n- mit\n---", "---\n: :\n\t- {\n---", "---\nlicense: [a, b]\n---",
     "---\nlicense: 3\n---", "---\nlicense: !!python/object:os.system x\n---", "\ufeff---\n" + "a: &a [x]\n" * 3 + "---"],
)  # fmt: skip
def test_what_states_nothing_states_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read(tmp_path) == ("", "")


def test_source_and_framework_of_a_conversion(tmp_path: Path) -> None:
    noted = {"onnxspace.source": "timm:resnet18", "onnxspace.framework": "PyTorch (timm)", "onnxspace.input.license": "mit"}
    found = read_labels(tmp_path / "net.onnx", noted, "onnxscript")
    assert (found.source, found.framework, found.license) == ("timm:resnet18", "pytorch", "mit")
    long = read_labels(tmp_path / "net.onnx", {"onnxspace.source": "x" * 9000, "license": "y\n\x00" * 300}, "tf2onnx 1.16")
    assert (len(long.source), len(long.license), long.framework) == (2000, 200, "tensorflow")
    assert long.license.isprintable()
