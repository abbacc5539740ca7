"""Labels of a model that are written in its file or beside it: licence, source, framework."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxspace.inputs.labels import Labels, find_framework, truncate_labels
from onnxspace.model.pixel_metadata.side_files import SideFiles

_WORDS = ("license", "licence", "License", "LICENSE", "onnxspace.input.license")
_TIMM = "pretrained_cfg"


def read_labels(path: Path, metadata: Mapping[str, str], producer: str) -> Labels:
    """Return the labels of the model file `path`: from its metadata, then from a model card and `config.json` beside it.

    What can't be read states nothing. The source and the framework are those that a conversion noted.
    """
    stated, where = next(_find_licenses(path, metadata), ("", ""))
    framework = _simplify(metadata.get("onnxspace.framework", "")) or find_framework(producer)
    return truncate_labels(Labels(metadata.get("onnxspace.source", ""), framework, producer, stated, where))


def _simplify(framework: str) -> str:
    """A framework's name in small letters, without how it was loaded: `PyTorch (timm)` is `pytorch`."""
    return framework.partition(" (")[0].strip().lower()


def _find_licenses(path: Path, metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Licences and where they are written, in the order in which they count."""
    for key in _WORDS:
        if metadata.get(key, "").strip():
            yield metadata[key], f"{key} in the file's metadata"
    files = SideFiles(path)
    card = files.find_front_matter("README.md")
    config = files.find_json("config.json", above=True)
    for found, name in ((card, "README.md"), (config, "config.json")):
        content: Any = {} if found is None else found.content
        for part in (content, content.get(_TIMM)):
            if isinstance(part, dict) and (word := read_license(part)):
                yield word, f"{name} beside it"


def read_license(content: Mapping[str, Any]) -> str:
    """Return the licence in a model card's front matter or a configuration; `other` is named by `license_name`."""
    for key in ("license", "licence"):
        word = content.get(key)
        if isinstance(word, list) and len(word) == 1:
            word = word[0]
        if isinstance(word, str) and word.strip():
            named = content.get("license_name")
            return named if word.strip().lower() == "other" and isinstance(named, str) and named.strip() else word
    return ""
