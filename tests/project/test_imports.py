"""What importing costs and what it must not load. Which package may import which is a contract of import-linter (pyproject.toml)."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import onnxspace

ROOT = Path(onnxspace.__file__).parent
REPOSITORY = ROOT.parent
#: Packages that compare, and the workflows that compare results and fingerprints where Torch and ONNX are not installed.
COMPARING = ("storage", "inputs", "similarity", "scores", "evaluation", "spaces", "report")
WORKFLOWS = ("workflows.score", "workflows.space", "workflows.report", "checking.run", "differences.run")
#: The one module of the comparing packages that is for a GPU.
FOR_A_GPU = "onnxspace.similarity.gpu_worker"
NAME = re.compile(r"onnxspace(?:\.[A-Za-z_]\w*)+")


def modules(*packages: str) -> list[str]:
    """The dotted names of all modules of these packages (none: of all)."""
    found = [path.relative_to(ROOT.parent).with_suffix("").parts for path in sorted(ROOT.rglob("*.py"))]
    names = [".".join(parts[:-1] if parts[-1] == "__init__" else parts) for parts in found]
    return [name for name in names if not packages or name.split(".")[1:2] in [[p] for p in packages]]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def loaded(names: list[str]) -> str:
    lines = "; ".join(f"import {name}" for name in names)
    return run(f"{lines}; import sys; print([n for n in ('torch', 'onnx', 'onnxruntime') if n in sys.modules])").strip()


def test_comparing_packages_load_neither_torch_nor_onnx() -> None:
    names = [name for name in modules(*COMPARING) if name != FOR_A_GPU]
    assert len(names) > 70
    assert loaded(names) == "[]"


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflows_that_compare_load_neither_torch_nor_onnx(workflow: str) -> None:
    assert loaded([f"onnxspace.{workflow}"]) == "[]"


def test_comparing_fingerprints_and_listing_a_space_load_no_scipy() -> None:
    code = "import onnxspace.workflows.score, onnxspace.workflows.space, sys; print('scipy' in sys.modules)"
    assert run(code).strip() == "False"


@pytest.mark.process
def test_workers_load_no_compiler() -> None:
    """It takes a second and a half of each worker's start."""
    code = (
        "import onnxspace.workflows.child.tasks, sys; print([n for n in ('torch._dynamo', 'torchvision') if n in sys.modules])"
    )
    assert run(code).strip() == "[]"


def strings(path: Path) -> list[str]:
    """All text in a file: string constants of a Python file, or its words."""
    if path.suffix != ".py":
        return [path.read_text("utf-8")]
    tree = ast.parse(path.read_text("utf-8"))
    return [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def exists(name: str) -> bool:
    """Whether a dotted name is that of a module, or of something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            spec = find_spec(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        if spec is not None:
            value: object = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                if not hasattr(value, part):
                    return False
                value = getattr(value, part)
            return True
    return False


#: Names that are no modules: files, an entry-point group, a suite of tests, a schema's.
NO_MODULES = {
    "onnxspace.toml",
    "onnxspace.json",
    "onnxspace.sarif",
    "onnxspace.md",
    "onnxspace.check",
    "onnxspace.framework",
    "onnxspace.version.torch",
    "onnxspace.input",
    "onnxspace.input.color",
    "onnxspace.input.license",
    "onnxspace.input.mean",
    "onnxspace.input.scale",
    "onnxspace.input.size",
    "onnxspace.input.std",
    "onnxspace.source",
}


@pytest.mark.filterwarnings("ignore:onnxspace.transfer is called")
def test_every_string_that_names_a_module_names_one() -> None:
    places = [*ROOT.rglob("*.py"), *(REPOSITORY / "converters").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    places += [*(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*.md"), REPOSITORY / "pyproject.toml"]
    named = {(name, path) for path in places for text in strings(path) for name in NAME.findall(text)}
    assert len(named) > 50
    wrong = sorted(
        {f"{path.relative_to(REPOSITORY)}: {name}" for name, path in named if name not in NO_MODULES and not exists(name)}
    )
    assert wrong == []


def test_every_module_is_named_in_the_contract_of_floors() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    floors = set(re.findall(r"onnxspace\.(\w+)", text.split("layers = [")[1].split("]")[0]))
    parts = {p.stem for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert parts - {"__init__", "__main__", "transfer"} == floors


def test_the_former_name_of_scores_is_the_same_module() -> None:
    code = "import onnxspace.transfer as old, onnxspace.scores as new; from onnxspace.transfer.registry import Spec; print(old is new)"
    assert run(code).strip() == "True"


def test_help_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "onnx", "PIL", "scipy", "rich", "matplotlib")
    code = (
        "import sys, onnxspace.cli\n"
        "try: onnxspace.cli.main(['--help'])\n"
        f"except SystemExit: print([n for n in {heavy} if n in sys.modules])"
    )
    assert run(code).strip().endswith("[]")


@pytest.mark.parametrize(
    "command", ["score", "explain", "inspect", "layers", "space", "fingerprint", "evaluate", "report", "convert", "diff"]
)
def test_help_of_each_command_loads_nothing_heavy(command: str) -> None:
    heavy = ("numpy", "torch", "onnx")
    code = (
        "import sys, onnxspace.cli\n"
        f"try: onnxspace.cli.main([{command!r}, '--help'])\n"
        f"except SystemExit: print([n for n in {heavy} if n in sys.modules])"
    )
    assert run(code).strip().endswith("[]")
