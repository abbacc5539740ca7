"""All frameworks beside each other: a zoo of them is scored in one command, and requests that can't be met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onnxspace.cli import main
from onnxspace.errors import ConfigError, ModelError
from onnxspace.exporters import Request, run
from tests.helpers import torchnets
from tests.helpers.framework_files import SHAPE

pytestmark = pytest.mark.frameworks


def sources(keras: Any, flax: Any, folder: Path) -> list[str]:
    """One network with one set of weights, as PyTorch, Keras, TFLite (float and int8) and Flax have it; and two others."""
    network = torchnets.plain()
    program = torch.export.export(
        network, (torch.randn(2, *torchnets.SHAPE),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, folder / "one.pt2")
    twin = keras.twin({name: value.numpy() for name, value in network.state_dict().items()})
    twin.save(folder / "two.keras")
    keras.lite(twin, folder / "three.tflite")
    keras.lite(twin, folder / "four.tflite", whole=True)
    keras.grouped().save(folder / "other.keras")
    said = '[models."tests.helpers.flaxnets:{name}"]\nsize = [16, 16]\n'
    (folder / "onnxspace.toml").write_text("".join(said.format(name=name) for name in ("like_torch", "attending")))
    files = [str(folder / name) for name in ("one.pt2", "two.keras", "three.tflite", "four.tflite", "other.keras")]
    return [*files, "tests.helpers.flaxnets:like_torch", "tests.helpers.flaxnets:attending"]


def test_a_zoo_of_all_frameworks_is_scored_in_one_command(
    keras: Any, flax: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONNXSPACE_CACHE", str(tmp_path / "cache"))
    zoo = sources(keras, flax, tmp_path)
    arguments = [
        "score",
        *zoo,
        "--config",
        str(tmp_path / "onnxspace.toml"),
        "--json",
        "--images",
        "16",
        "--pixels",
        "symmetric",
    ]
    capsys.readouterr()  # what TensorFlow said while it made the files
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    found = json.loads(said.out)
    matrix = np.asarray(found["affinity"])
    same = [0, 1, 2, 5]  # PyTorch, Keras, TFLite, Flax
    assert matrix[np.ix_(same, same)].min() >= 0.999
    assert matrix[3, same].min() >= 0.9  # int8
    assert matrix[np.ix_(same, [4, 6])].max() < 0.9
    far = matrix[:, [4, 6]]
    assert all(np.array_equal(np.argsort(far[k]), np.argsort(far[0])) for k in same)
    assert any((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("source", "request_", "words"),
    [
        ("tests.helpers.kerasnets:two_inputs", Request(), "has 2 inputs, but must have one image"),
        ("tests.helpers.kerasnets:unsized", Request(), "does not state the size of its images. Give it as --input"),
        ("tests.helpers.kerasnets:plain", Request(input=(16, 16, 1)), "can't take images of 16×16×1"),
        ("tests.helpers.kerasnets:plain", Request(encoder="neck"), "there is no layer 'neck'; there are image, conv"),
        ("tests.helpers.kerasnets:plain", Request(opset=20), "can't be exported at opset 20. Give --opset from 11 to 18"),
        ("tests.helpers.flaxnets:plain", Request(), "does not state the size of its images. Give it as --input"),
        ("tests.helpers.flaxnets:bare", Request(input=SHAPE), "returns a network without weights. Return it as module.bind"),
        ("tests.helpers.flaxnets:plain", Request(input=(16, 16, 1)), "can't take images of 16×16×1"),
        (
            "tests.helpers.sklearnnets:forest",
            Request(input=SHAPE),
            "RandomForestClassifier, which is not known to have a gradient",
        ),
        ("tests.helpers.sklearnnets:unfitted", Request(input=SHAPE), "has not been fitted"),
        ("tests.helpers.sklearnnets:ridge", Request(), "does not state the size of its images"),
        ("tests.helpers.sklearnnets:ridge", Request(input=(16, 16, 1)), "takes 768 values, but an image of 16×16×1 has 256"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(source: str, request_: Request, words: str, tmp_path: Path) -> None:
    with pytest.raises((ModelError, ConfigError), match=words):
        run(source, tmp_path / "out.onnx", request_)
    assert not (tmp_path / "out.onnx").exists()
