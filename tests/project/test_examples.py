"""Examples in docstrings are true."""

from __future__ import annotations

import doctest
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import onnxspace

ROOT = Path(onnxspace.__file__).parent
PACKAGES = ("scores", "evaluation", "similarity", "spaces", "storage")
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if re.search(r">>> (?!.*doctest: \+SKIP)", path.read_text("utf-8"))
] + ["onnxspace.report.heatmap"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings_are_true(name: str) -> None:
    found = doctest.testmod(import_module(name), extraglobs={"np": np})
    assert found.attempted > 0
    assert found.failed == 0
