"""Notebooks as pages of the site: text, code, and the outputs that are stored in them. Nothing is run here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = "notebooks"
_STYLE = """<style>
.notebook-output {overflow-x: auto; margin: 0 0 1em 1em}
.notebook-output table {font-size: .7rem}
</style>"""


def list_notebooks(docs: Path) -> dict[str, Path]:
    """The notebooks by the names of their pages, such as `notebooks/choosing_a_source.md`."""
    return {f"{FOLDER}/{path.stem}.md": path for path in sorted((docs / FOLDER).glob("*.ipynb"))}


def to_markdown(path: Path) -> str:
    """A notebook as a page, with a link to the notebook below its title."""
    notebook = json.loads(path.read_text("utf-8"))
    title, *cells = [part for cell in notebook["cells"] for part in _render_cell(cell)]
    heading, _, rest = title.partition("\n")
    return "\n\n".join((heading, f"[The notebook: {path.name}]({path.name})", rest.strip(), _STYLE, *cells)) + "\n"


def _render_cell(cell: Any) -> Iterator[str]:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield text
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        yield _render_output(output)


def _render_output(output: Any) -> str:
    """HTML in one line, since a blank line would end it; else text."""
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="notebook-output">{" ".join("".join(data["text/html"]).split())}</div>'
    text = "".join(output["text"] if "text" in output else data["text/plain"])
    return f"```text\n{text.rstrip()}\n```"
