"""Files of the current folder, which may be an untrusted checkout, stand for no installed package in any process that is started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from onnxspace.errors import ModelError
from onnxspace.exporters.export import ConversionLimits, to_onnx
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
    from onnxspace.exporters import Request

    assert to_onnx("factory:make", tmp_path / "net.onnx", Request(input=(3, 8, 8))).framework == "PyTorch"
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


def test_a_conversion_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slow.py").write_text("import time\n\ndef make():\n    time.sleep(60)\n")
    Path("large.py").write_text("def make():\n    return bytearray(2**40)\n")
    Path("busy.py").write_text("def make():\n    while True:\n        pass\n")
    for source, limits, words in (
        ("slow:make", ConversionLimits(4 * 2**30, 100, 8), "slow:make: the conversion was stopped after 8 seconds"),
        ("large:make", ConversionLimits(2 * 2**30, 100, 100), r"large:make .*(2 GiB of memory|MemoryError)"),
        (
            "busy:make",
            ConversionLimits(4 * 2**30, 1, 100),
            "busy:make: the conversion was stopped after 1 seconds of processor time",
        ),
    ):
        monkeypatch.setattr(ConversionLimits, "of_this_machine", lambda limits=limits: limits)
        with pytest.raises(ModelError, match=words):
            to_onnx(source, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()
