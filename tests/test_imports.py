"""The house rules: imports go one way, the comparing tower is free of torch and onnx, help is instant."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import onnxspace

ROOT = Path(onnxspace.__file__).parent
LAYERS = [
    {"errors", "halves", "heat"},
    {"graph", "texture", "preprocess", "methods", "rulenames"},
    {"network"},
    {"config", "synthetic", "runtime", "shapes", "noise", "journal", "locks"},
    {"naming", "imageinput", "onnxfile", "store", "countsketch", "tiles"},
    {"model", "probes", "sketch"},
    {"cut", "distance", "rank", "baselines", "certainty", "search"},
    {"convert", "affinity", "description", "explanation", "index"},
    {"lrp", "report", "passes", "spaces"},
    {"tuned", "compute"},
    {"explainer"},
    {"shards"},
    {"attribution", "recipe"},
    {"pipeline", "illustrate"},
    {"fingerprinting"},
    {"adding"},
    {"space"},
    {"cli"},
]
COMPARING = [
    "affinity",
    "baselines",
    "certainty",
    "config",
    "countsketch",
    "distance",
    "explanation",
    "halves",
    "heat",
    "index",
    "methods",
    "naming",
    "noise",
    "preprocess",
    "probes",
    "rank",
    "report.file",
    "report.folder",
    "report.gallery",
    "report.picture",
    "search",
    "sketch",
    "space",
    "spaces.check",
    "spaces.prints",
    "store",
    "tiles",
]


def layer_of(module: str) -> int:
    part = module.split(".")[1]
    return next(i for i, names in enumerate(LAYERS) if part in names)


def edges() -> list[tuple[str, str]]:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        module = ".".join(["onnxspace", *path.relative_to(ROOT).with_suffix("").parts])
        if module.split(".")[1] in {"__init__", "__main__"}:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            if isinstance(node, ast.Import | ast.ImportFrom):
                found += [(module, name) for name in names if name and name.startswith("onnxspace.")]
    return found


def test_imports_go_down_the_list_only() -> None:
    checked = edges()
    assert len(checked) > 50
    for importer, imported in checked:
        same_part = importer.split(".")[1] == imported.split(".")[1]
        assert same_part or layer_of(importer) > layer_of(imported), f"{importer} imports {imported}"


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("module", COMPARING)
def test_comparing_tower_needs_neither_torch_nor_onnx(module: str) -> None:
    loaded = run(f"import onnxspace.{module}, sys; print([n for n in ('torch', 'onnx', 'onnxruntime') if n in sys.modules])")
    assert loaded.strip() == "[]"


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "onnx", "PIL", "scipy", "rich", "matplotlib")
    code = (
        "import sys, onnxspace.cli\n"
        "try: onnxspace.cli.main(['--help'])\n"
        f"except SystemExit: print([n for n in {heavy} if n in sys.modules])"
    )
    assert run(code).strip().endswith("[]")


@pytest.mark.parametrize("command", ["score", "explain", "inspect", "space", "fingerprint"])
def test_help_of_each_command_loads_nothing_heavy(command: str) -> None:
    heavy = ("numpy", "torch", "onnx")
    code = (
        "import sys, onnxspace.cli\n"
        f"try: onnxspace.cli.main([{command!r}, '--help'])\n"
        f"except SystemExit: print([n for n in {heavy} if n in sys.modules])"
    )
    assert run(code).strip().endswith("[]")


def test_every_module_has_a_place_in_the_list() -> None:
    parts = {p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert parts - {"__init__", "__main__"} == set().union(*LAYERS)
