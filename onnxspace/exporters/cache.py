"""Models of other frameworks among those to be compared: each is converted once, and kept by what it was made from.

A kept conversion is a folder of a model, its sidecar, and a note of the model's hash; it appears whole, and one that no longer
fits its note is made anew. Two processes may convert the same model at once: the first one's stays.
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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from onnxspace.errors import OutputError
from onnxspace.exporters.api import Exporter, Request, Source
from onnxspace.exporters.discovery import accepting, is_source
from onnxspace.exporters.export import to_onnx
from onnxspace.inputs.config import Config, ModelOptions, load_sidecar

VARIABLE = "ONNXSPACE_CACHE"
_FORMAT = 1
_NOTE = "made.json"
_OWN = frozenset({".onnx", ".fp"})
#: Conversions that end with this process, by source and wishes.
_made: dict[tuple[str, str], Path] = {}


def onnx_file(path: Path, encoder: str | None, config: Config) -> Path:
    """The ONNX file of a model: `path` itself, or what it was converted into, now or earlier.

    Raises ModelError and its kin where it can't be converted, OutputError where that can't be kept.
    """
    if path.suffix.lower() in _OWN or not is_source(str(path)):
        return path
    request = Request(encoder=None if encoder == "auto" else encoder, said=config.options(path))
    exporter = next(iter(accepting(Source(str(path)))), None)
    if exporter is None or not path.exists():
        return _for_this_run(path, request)
    return _kept(path, request, place() / key(path, exporter, request))


def said_of(path: Path, file: Path, config: Config) -> ModelOptions:
    """What is said of a model: by the user of the source, and where he says nothing, by its conversion."""
    return config.options(path) if file == path else config.options(path).over(load_sidecar(file))


def place() -> Path:
    """The folder of kept conversions: in the user's cache, or where the variable ONNXSPACE_CACHE says."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen) / "converted"
    from platformdirs import user_cache_path

    return user_cache_path("onnxspace", appauthor=False) / "converted"


def key(path: Path, exporter: Exporter, request: Request) -> str:
    """24 hex digits for all that determines a conversion: content, wishes, exporter, versions."""
    made_by = {name: _version(name) for name in ("onnxspace", "onnx", *exporter.needs)}
    said: Mapping[str, Any] = {"format": _FORMAT, "exporter": exporter.name, "versions": made_by, "request": request.to_dict()}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode("utf-8", "surrogateescape") + _hash(file))
    return digest.hexdigest()[:24]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # imported under another name than it is installed by
        return ""


def _hash(file: Path) -> bytes:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def _for_this_run(path: Path, request: Request) -> Path:
    """A conversion of what has no content to be known by, such as a callable."""
    wish = str(path), json.dumps(request.to_dict(), default=str)
    if wish not in _made:
        folder = tempfile.mkdtemp(prefix="onnxspace-converted-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        target = Path(folder, f"{_file_name(path)}.onnx")
        to_onnx(str(path), target, request)
        _made[wish] = target
    return _made[wish]


def _file_name(path: Path) -> str:
    return path.name.replace(":", "-") if ":" in path.name else path.stem or "model"


def _kept(path: Path, request: Request, folder: Path) -> Path:
    target = folder / f"{_file_name(path)}.onnx"
    if not _sound(target):
        _make(path, request, target)
    return target


def _sound(target: Path) -> bool:
    """Whether a kept model is there, and is what was put there."""
    try:
        note = json.loads((target.parent / _NOTE).read_text("utf-8"))
        return isinstance(note, dict) and note.get("sha256") == _hash(target).hex()
    except (OSError, ValueError):
        return False


def _make(path: Path, request: Request, target: Path) -> None:
    """Convert into a folder beside its place, and move that there."""
    try:
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent.parent))
    except OSError as error:
        raise OutputError(
            error.errno, f"{target.parent.parent} can't be written ({error.strerror or error}). Name a folder by {VARIABLE}."
        ) from error
    try:
        to_onnx(str(path), working / target.name, request)
        (working / _NOTE).write_text(json.dumps({"source": path.name, "sha256": _hash(working / target.name).hex()}), "utf-8")
        _move(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _move(working: Path, target: Path) -> None:
    """Give a finished folder its name; where another process was first, its work stands."""
    for _ in range(2):
        with suppress(OSError):
            working.rename(target.parent)
            return
        if _sound(target):
            return
        shutil.rmtree(target.parent, ignore_errors=True)  # damaged
    raise OutputError(f"{target.parent} can't be replaced. Remove it, or name another folder by {VARIABLE}.")
