"""The notebooks of docs/notebooks run, show what they store, and are pages of the site."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from docs.hooks.notebooks import list_notebooks, to_markdown
from docs.hooks.run_notebooks import list_kinds, run, shorten_paths
from tests.helpers.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
NOTEBOOKS = list(list_notebooks(DOCS).values())
MOST_BYTES = 200_000


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.exhaustive
@pytest.mark.process
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_runs_and_shows_what_it_stores(path: Path) -> None:
    """Numbers may differ between processors, kinds of outputs may not. `docs/hooks/run_notebooks.py` writes them."""
    assert list_kinds(run(path)) == list_kinds(read_as_notebook(path))


def read_as_notebook(path: Path) -> Any:
    import nbformat

    return nbformat.read(path, as_version=4)


@pytest.mark.exhaustive
@pytest.mark.process
def test_a_cell_that_fails_fails_the_run(tmp_path: Path) -> None:
    from nbclient.exceptions import CellExecutionError

    notebook = read(NOTEBOOKS[0])
    notebook["cells"] = [{**cell, "source": ["1 / 0"]} for cell in notebook["cells"] if cell["cell_type"] == "code"][:1]
    (tmp_path / "broken.ipynb").write_text(json.dumps(notebook))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        run(tmp_path / "broken.ipynb")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_stores_outputs_of_no_machine(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text) < MOST_BYTES
    assert not re.search(r"/(?:home|root|Users|tmp|work|opt)/[A-Za-z]|\x1b", text)
    code = [cell for cell in read(path)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in code for output in cell["outputs"]]
    assert len(outputs) >= len(code) - 2
    assert {output["output_type"] for output in outputs} <= {"execute_result", "stream"}
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert all(output.get("name", "stdout") == "stdout" for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pages_have_code_outputs_and_links_that_lead_somewhere(path: Path) -> None:
    page, cells = to_markdown(path), read(path)["cells"]
    assert page.startswith("# ")
    assert page.count("```python") == sum(cell["cell_type"] == "code" for cell in cells)
    shown = [output for cell in cells for output in cell.get("outputs", ())]
    assert page.count('<div class="notebook-output">') == sum("text/html" in output.get("data", {}) for output in shown)
    assert all(line.endswith("</div>") for line in page.splitlines() if line.startswith('<div class="notebook'))
    targets = re.findall(r"(?<!\!)\[[^\]]+\]\(([^)#]+)\)", re.sub(r"```.*?```|<div.*", "", page, flags=re.S))
    assert targets[0] == path.name
    assert all((path.parent / target).is_file() for target in targets)


def test_paths_are_those_of_a_reader() -> None:
    assert shorten_paths(f"{REPOSITORY}/models/a.onnx and /tmp/tmpab12_x/photos") == "models/a.onnx and photos"
