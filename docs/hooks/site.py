"""Hooks of the documentation site: pages from outside docs/, links between them, notebooks, and the commands' tables of options."""

from __future__ import annotations

import json
import os
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from docs.hooks.commands import MARK, render_options  # noqa: E402
from docs.hooks.notebooks import list_notebooks, to_markdown  # noqa: E402
from docs.hooks.schemas import file_name, read_schemas  # noqa: E402

#: Pages of the site that lie elsewhere in the repository.
OUTSIDE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
    "howto/other-frameworks.md": "converters/README.md",
    "zoo.md": "models/README.md",
    "published-data.md": "benchmarks/data/README.md",
}
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/, those of notebooks, and the JSON schemas."""
    for page, path in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    for page, notebook in list_notebooks(ROOT / "docs").items():
        files.append(File.generated(config, page, content=to_markdown(notebook)))
    for name, schema in read_schemas(ROOT / "docs").items():
        files.append(File.generated(config, file_name(name), content=json.dumps(schema, indent=2)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links to pages of the site, and fill in the tables of options."""
    uri = page.file.src_uri
    linked = _LINK.sub(lambda found: lead_link(found, OUTSIDE.get(uri, f"docs/{uri}"), uri), markdown)
    return MARK.sub(lambda found: render_options(found[1]), linked)


def lead_link(found: re.Match[str], path: str, uri: str) -> str:
    """A link of the file `path` as one of the page `uri`; to what is no page, its words alone."""
    picture, words, target = found.groups()
    if re.match(r"[a-z]+:|#", target):
        return found[0]
    address, mark, anchor = target.partition("#")
    goal = posixpath.normpath(posixpath.join(posixpath.dirname(path), address))
    pages = {value: key for key, value in OUTSIDE.items()}
    inside = pages.get(goal) or (goal.removeprefix("docs/") if goal.startswith("docs/") and Path(goal).suffix else None)
    if inside is None:
        return words
    return f"{picture}[{words}]({os.path.relpath(inside, posixpath.dirname(uri) or '.')}{mark}{anchor})"
