"""An installation without Torch and ONNX compares, and says in one sentence what the rest requires.

The libraries are kept from being imported, in worker processes too; `.ci/light` runs the same without having them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onnxspace.errors import MissingLibraryError, describe_missing, unexpected
from tests.helpers.paths import REPOSITORY

BLOCK = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxruntime", "onnx2torch", "onnx_ir", "onnxscript", "google", "sklearn"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


@pytest.mark.process
def test_comparing_works_without_torch_and_onnx(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK, "utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"}
    program = [sys.executable, str(REPOSITORY / "tests/helpers/light.py")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.process
def test_a_public_name_that_requires_a_missing_library_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK, "utf-8")
    code = "import onnxspace as ox\ntry:\n    ox.to_torch\nexcept ox.OnnxspaceError as error:\n    print(type(error).__name__, error.name)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[0] == "MissingLibraryError", done.stderr


def test_a_missing_library_is_never_unexpected() -> None:
    error = ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")
    assert unexpected("a.onnx", error) == describe_missing(error)
    assert "requires torch, which is not installed" in str(MissingLibraryError(describe_missing(error)))
