"""The sidecar `MODEL.onnxspace.toml` that a conversion writes: the framework's preprocessing, and the origin of the file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from onnxspace.exporters.api import Facts
from onnxspace.inputs.config import PROVENANCE, SIDECAR_SUFFIX, WRITTEN_BY_CONVERSION, ModelOptions
from onnxspace.storage.regular_files import read_regular

FIRST_LINE = f"{WRITTEN_BY_CONVERSION}; the next conversion writes it anew. Edit a copy of it in onnxspace.toml."


def sidecar_of(model: Path) -> Path:
    """The path of a model's sidecar."""
    return model.parent / (model.stem + SIDECAR_SUFFIX)


def may_write(path: Path) -> bool:
    """Whether there is no sidecar yet, or one that a conversion wrote; a user's file is not overwritten."""
    try:
        return (
            not path.exists() or read_regular(path, len(FIRST_LINE.encode()))[: len(FIRST_LINE.encode())] == FIRST_LINE.encode()
        )
    except OSError:
        return False


def sidecar_text(source: str, facts: Facts) -> str:
    """The sidecar's text: options as `onnxspace.inputs.config` reads them, and the origin of the file as comments."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    lines = [FIRST_LINE, f"# source: {_clean_comment(source if ':' in source else Path(source).name)}"]
    lines += [f"# source SHA-256: {facts.source_sha256}"] if facts.source_sha256 else []
    lines += [f"# framework: {_clean_comment(facts.framework)} ({_clean_comment(versions)}), by {_clean_comment(facts.route)}"]
    options = {f.name: getattr(facts.said, f.name) for f in fields(ModelOptions) if f.name not in PROVENANCE} | {
        "encoder": facts.encoder
    }
    lines += [f"{name} = {_toml_value(value)}" for name, value in options.items() if value is not None]
    return "\n".join(lines) + "\n"


def _clean_comment(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _toml_value(value: Any) -> str:
    """A TOML value; a JSON string is a TOML string except for one character."""
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f")
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    return repr(value)
