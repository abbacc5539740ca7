"""What makes a page self-contained: its assets, data that a script reads, and a policy that allows nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, Template


def to_script_json(content: Any) -> str:
    """Encode a value as JSON that is safe inside a script element, whatever names it contains."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def read_asset(name: str, package: str = "onnxspace.report") -> str:
    """Read a text of the folder `assets` of a package."""
    return (files(package) / "assets" / name).read_text("utf-8")


def make_template(name: str, package: str = "onnxspace.report") -> Template:
    """The template of a page of the folder `assets` of a package; what all pages share is in the template `frame.html`.

    Values are escaped, and one that is not given is an error.
    """
    shared = DictLoader({"frame.html": read_asset("frame.html")})
    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=shared)
    return pages.from_string(read_asset(name, package))


def write_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The content security policy that allows these styles and scripts, and pictures of the page.

    Its empty style is one that plotly.js creates, and then fills by script.
    """
    allowed = {"style-src": (*styles, ""), "script-src": scripts}
    hashed = "; ".join(f"{kind} {' '.join(map(_hash, texts))}" for kind, texts in allowed.items())
    return f"default-src 'none'; {hashed}; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    """A hash for the policy as a browser computes it, with line ends normalised."""
    digest = hashlib.sha256(text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
