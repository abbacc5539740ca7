"""What the tests of `onnxspace check` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.checks import network
from tests.helpers.nets import save


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(network(), tmp_path / "old.onnx")
    return tmp_path
