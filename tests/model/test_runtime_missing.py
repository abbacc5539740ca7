"""An installation of ONNX Runtime of which files are missing is named, with the commands that mend it."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from onnxspace.errors import MissingLibraryError
from onnxspace.model import runtime


def test_half_an_onnx_runtime_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime and onnxruntime-gpu share a folder; what removing one leaves of it is imported as an empty package."""
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingLibraryError, match="pip uninstall -y onnxruntime onnxruntime-gpu; pip install onnxruntime-gpu"):
        runtime.import_onnxruntime()
