"""The uses that the page on checks shows, as they stand there, on networks of models/."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxspace as ox
from onnxspace.checking.child.forms import write_form
from tests.helpers.commands import Run
from tests.helpers.paths import REPOSITORY
from tests.helpers.widths import WIDTH, list_wide_lines

USES = (REPOSITORY / "docs/check.md").read_text("utf-8").split("## Uses\n")[1].split("\n## ")[0]
BLOCKS = [block.splitlines() for block in re.findall(r"```sh\n(.*?)```", USES, re.S)]
#: How each line starts, its exit code, and what it says.
SAID = {
    "keras.onnx --against torch.onnx": (0, "1 as expected"),
    "model-half.onnx --against model.onnx": (0, "1 as expected"),
    "model.onnx --calibrate": (0, "[check.artifacts.model.limits]\naffinity = 0."),
    "model-int8.onnx --against model.onnx": (0, "1 as expected"),
    "model-optimised.onnx --against model.onnx": (0, "1 as expected"),
    "model.onnx --against baselines/model.fp --update": (0, "wrote baselines/model.fp"),
    "model.onnx --against baselines/model.fp": (0, "1 as expected"),
    "tuned.onnx --against model.onnx": (1, "why: The same architecture with other weights: "),
    "ours.onnx --against theirs.onnx --distinct": (0, "1 as expected"),
}


COMMAND = "check"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the page speaks of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "baselines").mkdir()
    for name, source in (("keras", "shapes-keras"), ("torch", "shapes-torch"), ("model", "digits-torch"),
                         ("ours", "colour-torch"), ("theirs", "shapes-torch")):  # fmt: skip
        shutil.copy(REPOSITORY / f"models/{source}.onnx", f"{name}.onnx")
    images = ox.Probes.generate(16).images
    for form in ("half", "int8", "optimised"):
        write_form(form, ox.open_model("model.onnx"), images, tmp_path / f"model-{form}.onnx")
    onnx.save(tuned(onnx.load("model.onnx")), "tuned.onnx")
    return tmp_path


def tuned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every kernel and matrix moved by a twentieth of its length."""
    draw = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            moved = values + 0.05 * np.sqrt(np.mean(values**2)) * draw.standard_normal(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(values.dtype), tensor.name))
    return model


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block[0].removeprefix("onnxspace check "))
def test_each_use_does_what_the_page_says(run: Run, block: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    for line in block:
        words = shlex.split(line)
        assert words[:2] == ["onnxspace", "check"]
        expected, said = next(told for start, told in SAID.items() if " ".join(words[2:]).startswith(start))
        code, out, err = run(*words[2:], "--images", "16", "--quiet")
        assert (code, err) == (expected, ""), line
        assert " ".join(said.split()) in " ".join(out.split()), line
        assert list_wide_lines(out) == [], line


def test_the_page_has_a_use_for_every_case() -> None:
    lines = [line.removeprefix("onnxspace check ") for block in BLOCKS for line in block]
    assert len(lines) == len(SAID)
    assert all(any(line.startswith(start) for line in lines) for start in SAID)
