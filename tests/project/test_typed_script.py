"""A user's script of thirty lines is clean under `mypy --strict`, and a mistake in it is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

import onnxspace as ox
from tests.helpers.paths import REPOSITORY

SCRIPT = REPOSITORY / "tests/helpers/user_script.py"
OPTIONS = ("--strict", "--follow-imports", "silent", "--config-file", "", "--cache-dir", str(REPOSITORY / ".mypy_cache/user"))


def check(path: Path) -> list[str]:
    out, err, _ = api.run([*OPTIONS, str(path)])
    assert err == ""
    return [line for line in out.splitlines() if ": error: " in line]


@pytest.mark.exhaustive
def test_the_script_is_clean_and_a_mistake_is_found(tmp_path: Path) -> None:
    assert check(SCRIPT) == []
    wrong = tmp_path / "wrong.py"
    wrong.write_text(SCRIPT.read_text("utf-8") + '\naffinity.rank(3)\nrated.plases("knn")\n', "utf-8")
    found = check(wrong)
    assert len(found) == 2
    assert '"rank" of "Affinity" has incompatible type "int"' in found[0]
    assert '"Ratings" has no attribute "plases"' in found[1]


def test_the_script_has_every_public_name_but_those_of_types() -> None:
    text = SCRIPT.read_text("utf-8")
    assert {name for name in ox.__all__ if f"ox.{name}" not in text} == {
        "Affinity",
        "Description",
        "LayerMatrix",
        "LayerTable",
        "Model",
        "ModelDiff",
        "PrecisionSweep",
        "Ratings",
        "Verdict",
    }
    assert sum(bool(line.strip()) for line in text.splitlines()[2:]) <= 34
