"""Run the notebooks of docs/notebooks, and write them with their outputs.

    .venv/bin/python docs/hooks/run_notebooks.py [--only choosing_a_source …]

Run it after a change of what results show, and look at the notebooks. Needs nbclient and ipykernel, as the tests do, which run
every notebook and compare the outputs' kinds with those that are stored.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SECONDS = 300  # for a cell, on a busy machine
_TEMPORARY = re.compile(r"/[\w/.-]*/tmp\w+/|/tmp/tmp\w+/")


def run(path: Path) -> Any:
    """Return the notebook with the outputs of a run in its folder. Raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=place).execute()
    for cell in notebook.cells:
        clean(cell)
    return notebook


def clean(cell: Any) -> None:
    """Remove what differs between machines and runs: times, and the folders that names begin with."""
    cell.metadata = {}
    for output in cell.get("outputs", ()):
        for kind, text in output.get("data", {}).items():
            output["data"][kind] = shorten_paths(text)
        if "text" in output:
            output["text"] = shorten_paths(output["text"])


def shorten_paths(text: str) -> str:
    """Paths as a reader has them, from the repository.

    >>> shorten_paths("/tmp/tmpab12/photos")
    'photos'
    """
    return _TEMPORARY.sub("", text.replace(f"{FOLDER.parents[1]}/", ""))


def list_kinds(notebook: Any) -> list[list[list[str]]]:
    """The kinds of each cell's outputs, such as `text/html`, in their order."""
    return [
        [sorted(output.get("data", {output["output_type"]: ""})) for output in cell.get("outputs", ())]
        for cell in notebook.cells
    ]


def main() -> None:
    """Run what is named, and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    for name in parser.parse_args().only:
        path = FOLDER / f"{name}.ipynb"
        nbformat.write(run(path), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
