"""What the tests of spaces that are interrupted share."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxspace.spaces import catalogue
from tests.helpers.spaces import insert, space


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spaces are written without waiting for the disk: the end of a process loses nothing that was written."""
    monkeypatch.setattr(catalogue, "_SETTINGS", (*catalogue._SETTINGS, "synchronous = OFF"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = space(tmp_path / "zoo.space")
    for number in (1, 2):
        insert(made.path, number)
    made.affinity()
    return made.path
