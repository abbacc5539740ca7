"""The sidecar `MODEL.onnxspace.toml` that a conversion writes: what the framework said of its images, and where the file is from."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from onnxspace.exporters.api import Facts
from onnxspace.inputs.config import SIDECAR_SUFFIX, ModelOptions

FIRST_LINE = "# Written by `onnxspace convert`; the next conversion writes it anew. Edit a copy of it in onnxspace.toml."


def sidecar_of(model: Path) -> Path:
    """Where the options of a model file lie."""
    return model.parent / (model.stem + SIDECAR_SUFFIX)


def may_write(path: Path) -> bool:
    """Whether there is no sidecar yet, or one that a conversion wrote: what a user wrote is left alone."""
    try:
        return not path.exists() or path.read_bytes()[: len(FIRST_LINE.encode())] == FIRST_LINE.encode()
    except OSError:
        return False


def content(source: str, facts: Facts) -> str:
    """The file's text: options as `onnxspace.inputs.config` reads them, provenance as comments."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    lines = [FIRST_LINE, f"# source: {_comment(source if ':' in source else Path(source).name)}"]
    lines += [f"# source SHA-256: {facts.source_sha256}"] if facts.source_sha256 else []
    lines += [f"# framework: {_comment(facts.framework)} ({_comment(versions)}), by {_comment(facts.route)}"]
    said = {f.name: getattr(facts.said, f.name) for f in fields(ModelOptions)} | {"encoder": facts.encoder}
    lines += [f"{name} = {_value(value)}" for name, value in said.items() if value is not None]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _value(value: Any) -> str:
    """A TOML value; a JSON string is a TOML string but for one character."""
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)
