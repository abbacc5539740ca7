"""pyproject.toml declares what the code imports, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

from tests.helpers.paths import REPOSITORY

#: Import name → distribution, where the two differ.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "google": "protobuf",
    "onnx_ir": "onnx-ir",
    "onnxruntime": "onnxruntime-gpu",
    "sklearn": "scikit-learn",
}

USED_IF_THERE = {"pandas", "pytest"}


#: What a comparing package imports for a GPU, a cluster, an index or a labelled score alone.
NOT_FOR_LIGHT = {"distributed", "sklearn", "torch", "usearch"}
COMPUTING = {"attribution", "exporters", "finetuning", "model", "torchgraph", "child", "torch_graph.py"}


def imported(*paths: Path) -> set[str]:
    found = set()
    for path in paths or (*(REPOSITORY / "onnxspace").rglob("*.py"), *(REPOSITORY / "converters").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"onnxspace", "onnxspace_converters"}


def test_dependencies_are_the_imports() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name not in ("all", "test") for line in lines]
    declared = {re.split(r"[<>=;\s\[]", line)[0] for line in (*project["dependencies"], *extras)}
    needed = {DISTRIBUTIONS.get(name, name) for name in imported() - {"torchvision"} - USED_IF_THERE}
    assert needed | {"onnxruntime"} == declared


def test_all_is_every_extra_but_that_of_the_tests() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert extras["all"] == [f"onnxspace[{','.join(sorted(set(extras) - {'all', 'test'}))}]"]


def test_the_light_group_is_what_comparing_imports() -> None:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    group = content["dependency-groups"]["light"]
    assert set(group) <= set(content["project"]["dependencies"])
    comparing = [path for path in (REPOSITORY / "onnxspace").rglob("*.py") if not COMPUTING & set(path.parts)]
    needed = {DISTRIBUTIONS.get(name, name) for name in imported(*comparing) - NOT_FOR_LIGHT - USED_IF_THERE}
    names = [line.split(">")[0] for line in group]
    assert needed == set(names)
    assert f"pip install {' '.join(names)}\n" in (REPOSITORY / "docs/light.md").read_text("utf-8")


def test_no_machine_is_named_in_the_tree() -> None:
    """Paths of a machine or hosts of a package index have no place in what is shipped, model files included."""
    pattern = re.compile(rb"/(?:home|root|Users|tmp|work|opt)/[A-Za-z]|\.pyenv|localhost:\d|pypi\.org|site-packages/")
    for folder in ("onnxspace", "models", "benchmarks", "converters"):
        for path in (REPOSITORY / folder).rglob("*"):
            hidden = any(part.startswith((".", "__pycache__")) for part in path.relative_to(REPOSITORY).parts[:-1])
            if path.is_file() and not hidden:
                assert not pattern.search(path.read_bytes()), path
