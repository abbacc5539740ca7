"""What the tests of `diff` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import onnxspace as ox

#: Two models → what changed.
Compare = Callable[[onnx.ModelProto, onnx.ModelProto], ox.ModelDiff]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Writes two models and compares them on two images with values in [−1, 1]."""

    def run(old: onnx.ModelProto, new: onnx.ModelProto) -> ox.ModelDiff:
        onnx.save(old, tmp_path / "old.onnx")
        onnx.save(new, tmp_path / "new.onnx")
        return ox.diff(tmp_path / "old.onnx", tmp_path / "new.onnx", ox.Probes.generate(2, 32), pixels="symmetric")

    return run
