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
    {"errors", "halves", "heat", "quiet", "webpicture"},
    {"graph", "texture", "preprocess", "methods", "rulenames"},
    {"network"},
    {"config", "synthetic", "runtime", "shapes", "noise", "journal", "locks"},
    {"naming", "imageinput", "onnxfile", "store", "countsketch", "tiles"},
    {"model", "probes", "sketch"},
    {"desk", "exporters"},
    {"cut", "distance", "rank", "baselines", "search", "sidecar", "transfer"},
    {"evidence", "wanted"},
    {"certainty", "pairwise"},
    {"convert", "affinity", "description", "evaluation", "explanation", "index"},
    {"layertable"},
    {"lineup", "lrp", "report", "passes", "spaces"},
    {"agreed", "tuned", "compute", "converting", "photos", "features", "ratings"},
    {"gpudesk", "conversions"},
    {"explainer"},
    {"shards"},
    {"attribution", "recipe"},
    {"fields"},
    {"besides"},
    {"cluster"},
    {"pipeline", "illustrate"},
    {"fingerprinting", "scoring", "rating", "layerwise"},
    {"adding"},
    {"space"},
    {"checking"},
    {"reporting"},
    {"cli"},
]
COMPARING = [
    "affinity",
    "agreed",
    "baselines",
    "certainty",
    "cluster.engine",
    "cluster.gram",
    "cluster.piece",
    "config",
    "conversions",
    "converting",
    "countsketch",
    "desk",
    "distance",
    "evaluation",
    "evidence",
    "explanation",
    "exporters",
    "halves",
    "heat",
    "index",
    "layertable",
    "lineup",
    "methods",
    "naming",
    "noise",
    "pairwise",
    "photos",
    "preprocess",
    "probes",
    "rank",
    "ratings",
    "report.curves",
    "report.evaluated",
    "report.file",
    "report.folder",
    "report.gallery",
    "report.layers",
    "report.page",
    "report.picture",
    "reporting",
    "scoring",
    "search",
    "sketch",
    "space",
    "spaces.check",
    "spaces.prints",
    "store",
    "tiles",
    "transfer",
    "transfer.labelled.ensemble",
    "transfer.labelled.nleep",
    "transfer.pairs.cka",
    "transfer.registry",
    "wanted",
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


@pytest.mark.parametrize(
    "command", ["score", "explain", "inspect", "layers", "space", "fingerprint", "evaluate", "report", "convert"]
)
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
