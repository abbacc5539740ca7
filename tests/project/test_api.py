"""The public names: documented, typed, and present whatever has been imported before."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import onnxspace as ox
from onnxspace import errors

PUBLIC = [
    "Affinity",
    "Description",
    "LayerMatrix",
    "LayerTable",
    "Model",
    "ModelDiff",
    "OnnxspaceError",
    "Options",
    "Photos",
    "PrecisionSweep",
    "Probes",
    "Ratings",
    "Space",
    "Verdict",
    "attribute",
    "check",
    "compare_layers",
    "diff",
    "explain",
    "finetune",
    "inspect",
    "layers",
    "measure_faithfulness",
    "open_model",
    "rank_by_answers",
    "rank_finetuned",
    "rate",
    "score",
    "sweep_precision",
    "to_torch",
]


def test_public_names_are_these() -> None:
    assert sorted(ox.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(ox))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_documented_and_callable_twice(name: str) -> None:
    """Twice: a submodule of the same name would take the function's place after the first use."""
    first, second = getattr(ox, name), getattr(ox, name)
    assert first is second
    assert callable(first)
    assert len(inspect.getdoc(first) or "") > 30


def test_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert ox.__version__ == version("onnxspace")
    with pytest.raises(AttributeError):
        _ = ox.nothing_of_the_kind


def test_every_error_belongs_to_the_family_and_to_a_builtin() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.OnnxspaceError]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, errors.OnnxspaceError)
        assert any(base.__module__ == "builtins" and base not in (Exception, BaseException, object) for base in kind.__mro__)


@pytest.mark.process
def test_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "onnxspace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"onnxspace {ox.__version__}"
