"""Files of the current folder, which may be an untrusted checkout, stand for no installed package in any process that is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from onnxspace.errors import ModelError
from onnxspace.exporters import Request
from onnxspace.exporters.export import to_onnx
from tests.helpers import torchnets

pytestmark = pytest.mark.process
NAMES = ("torch", "numpy", "onnx", "click", "json", "multiprocessing", "platform")


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is written when a module of the current folder is imported."""
    marker = tmp_path / "marker"
    (tmp_path / "here").mkdir()
    for name in NAMES:
        (tmp_path / f"here/{name}.py").write_text(f"open({str(marker)!r}, 'w').close()\nraise ImportError('of this folder')\n")
    monkeypatch.chdir(tmp_path / "here")
    return marker


def test_a_conversion_imports_nothing_from_the_current_folder(marker: Path, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(torchnets.plain(), (torch.randn(1, *torchnets.SHAPE),)), tmp_path / "net.pt2")
    assert to_onnx(tmp_path / "net.pt2", tmp_path / "net.onnx").framework == "PyTorch"
    assert not marker.exists()


def test_a_factory_is_imported_from_the_current_folder_behind_installed_packages(marker: Path, tmp_path: Path) -> None:
    Path("factory.py").write_text("import torch\n\ndef make():\n    return torch.nn.Conv2d(3, 4, 3)\n")
    assert to_onnx("factory:make", tmp_path / "net.onnx", Request(input=(3, 8, 8), opset=13)).framework == "PyTorch"
    assert not marker.exists()


def test_workers_of_a_local_cluster_import_nothing_from_the_current_folder(marker: Path) -> None:
    code = "from onnxspace.workflows.cluster.client import connect\nif __name__ == '__main__':\n    with connect('local:1') as c: print(c.workers())"
    script = marker.parent / "script.py"
    script.write_text(code)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, marker.exists()) == ("1\n", False), done.stderr


def test_the_module_command_imports_nothing_from_the_current_folder(marker: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "onnxspace", "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, marker.exists()) == (0, False), done.stderr


def test_the_payload_would_run(marker: Path) -> None:
    subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, timeout=60)
    assert marker.exists()


LIMITED = {
    "slow": ("import time\n\ndef make():\n    time.sleep(60)\n", "wall=4", r"slow:make was stopped after 4 seconds\. .*--limits wall="),
    "large": ("def make():\n    return bytearray(2**40)\n", "memory=2G", r"large:make .*(2G of memory\. .*--limits|MemoryError)"),
    "busy": ("def make():\n    while True:\n        pass\n", "cpu=1", r"busy:make was stopped after 1 seconds of processor.*--limits cpu="),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITED)
def test_a_conversion_has_limits(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_children: None) -> None:
    monkeypatch.chdir(tmp_path)
    code, limits, words = LIMITED[name]
    Path(f"{name}.py").write_text(code)
    with pytest.raises(ModelError, match=words):
        to_onnx(f"{name}:make", tmp_path / "net.onnx", limits=limits)
    assert not (tmp_path / "net.onnx").exists()


def test_limits_of_a_command_hold_for_its_conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text(LIMITED["slow"][0])
    done = subprocess.run(
        [sys.executable, "-m", "onnxspace", "inspect", "slow:make", "--limits", "wall=4"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "slow:make was stopped after 4 seconds. Leave it out, or allow more with --limits wall=" in done.stderr
