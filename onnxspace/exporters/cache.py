"""A cache of conversions: each model of another framework is converted once, and found again by its content.

A cached conversion is a folder with the model, its sidecar, and a note with the model's checksum. It is written whole or not
at all, and replaced where the checksum does not match. Of two processes that convert the same model at once, the first wins.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onnxspace.errors import OutputError
from onnxspace.exporters.api import Exporter, Request, Source
from onnxspace.exporters.discovery import accepting, is_source, refuse_unknown_word
from onnxspace.exporters.export import to_onnx
from onnxspace.inputs.config import Config, ModelOptions, load_sidecar
from onnxspace.sandbox.limits import Limits
from onnxspace.storage.regular_files import open_regular, read_regular

VARIABLE = "ONNXSPACE_CACHE"
_FORMAT = 1
_NOTE = "made.json"
_MOST_NOTE = 2**20
_OWN = frozenset({".onnx", ".fp"})
#: Conversions that are removed with this process, by source and request.
_made: dict[tuple[str, str], Path] = {}


def onnx_file(path: Path, encoder: str | None, config: Config, limits: Limits | None = None) -> Path:
    """The ONNX file of a model: `path` itself, or its conversion, which is cached.

    `encoder` is the layer or tensor that the user named, None or "auto" for none; `limits` are those of the process that converts
    (None: those of this machine). Raises ModelError and its subclasses where
    it can't be converted, OutputError where the cache can't be written.
    """
    if path.suffix.lower() in _OWN or not is_source(str(path)):
        refuse_unknown_word(str(path))
        return path
    said = replace(config.options(path), origin=None, source=None, license=None, tags=None)
    request = Request(encoder=None if encoder == "auto" else encoder, said=said)
    exporter = next(iter(accepting(Source(str(path)))), None)
    if exporter is None or not path.exists():
        return _convert_for_this_run(path, request, limits)
    return _convert_once(path, request, cache_folder() / cache_key(path, exporter, request), limits)


def stated_options(path: Path, file: Path, config: Config) -> ModelOptions:
    """The options of a model at `path`: the user's, completed by those in the sidecar of its conversion `file`."""
    return config.options(path) if file == path else config.options(path).over(load_sidecar(file))


def cache_folder() -> Path:
    """The folder of cached conversions: in the user's cache, or in the folder that ONNXSPACE_CACHE names."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen) / "converted"
    from platformdirs import user_cache_path

    return user_cache_path("onnxspace", appauthor=False) / "converted"


def cache_key(path: Path, exporter: Exporter, request: Request) -> str:
    """A key of 24 hex digits for all that determines a conversion: content, request, exporter, versions."""
    made_by = {name: _version(name) for name in ("onnxspace", "onnx", *exporter.needs)}
    facts: Mapping[str, Any] = {"format": _FORMAT, "exporter": exporter.name, "versions": made_by, "request": request.to_dict()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode("utf-8", "surrogateescape") + _hash(file))
    return digest.hexdigest()[:24]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # installed under another name than it is imported by
        return ""


def _hash(file: Path) -> bytes:
    with open_regular(file) as content:
        return hashlib.file_digest(content, "sha256").digest()


def _convert_for_this_run(path: Path, request: Request, limits: Limits | None) -> Path:
    """A conversion of a source without content that could be a key, such as a callable; for this process only."""
    conversion = str(path), json.dumps(request.to_dict(), default=str)
    if conversion not in _made:
        folder = tempfile.mkdtemp(prefix="onnxspace-converted-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        target = Path(folder, f"{_file_name(path)}.onnx")
        to_onnx(str(path), target, request, limits=limits)
        _made[conversion] = target
    return _made[conversion]


def _file_name(path: Path) -> str:
    return path.name.replace(":", "-") if ":" in path.name else path.stem or "model"


def _convert_once(path: Path, request: Request, folder: Path, limits: Limits | None) -> Path:
    target = folder / f"{_file_name(path)}.onnx"
    if not _is_intact(target):
        _convert(path, request, target, limits)
    return target


def _is_intact(target: Path) -> bool:
    """Whether a cached model exists and has the checksum of its note."""
    try:
        note = json.loads(read_regular(target.parent / _NOTE, _MOST_NOTE))
        return isinstance(note, dict) and note.get("sha256") == _hash(target).hex()
    except (OSError, ValueError):
        return False


def _convert(path: Path, request: Request, target: Path, limits: Limits | None) -> None:
    """Convert into a working folder beside the target's folder, and rename it."""
    try:
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent.parent))
    except OSError as error:
        raise OutputError(
            error.errno, f"{target.parent.parent} can't be written ({error.strerror or error}). Name a folder with {VARIABLE}."
        ) from error
    try:
        to_onnx(str(path), working / target.name, request, limits=limits)
        (working / _NOTE).write_text(json.dumps({"source": path.name, "sha256": _hash(working / target.name).hex()}), "utf-8")
        _move_into_place(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _move_into_place(working: Path, target: Path) -> None:
    """Rename a finished folder; where another process was first, its conversion stays."""
    for _ in range(2):
        with suppress(OSError):
            working.rename(target.parent)
            return
        if _is_intact(target):
            return
        shutil.rmtree(target.parent, ignore_errors=True)  # damaged
    raise OutputError(f"{target.parent} can't be replaced. Remove it, or name another folder with {VARIABLE}.")
