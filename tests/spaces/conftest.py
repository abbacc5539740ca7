"""What the tests of spaces that are interrupted share."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxspace.spaces import catalogue
from tests.helpers.deaths import Deaths, serving_deaths
from tests.helpers.spaces import insert, space

#: Spaces are written without waiting for the disk: the end of a process loses nothing that was written.
IN_MEMORY: dict[str, object] = {"onnxspace.spaces.catalogue._SETTINGS": (*catalogue._SETTINGS, "synchronous = OFF")}


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IN_MEMORY.items():
        monkeypatch.setattr(name, value)


@pytest.fixture(scope="session")
def small_process() -> Iterator[subprocess.Popen[bytes]]:
    with serving_deaths() as server:
        yield server


@pytest.fixture
def deaths(request: pytest.FixtureRequest, small_process: subprocess.Popen[bytes]) -> Deaths:
    """What kills functions at one of their steps, under the `SETTINGS` of the module."""
    return Deaths(small_process, request.module.SETTINGS)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = space(tmp_path / "zoo.space")
    for number in (1, 2):
        insert(made.path, number)
    made.affinity()
    return made.path
