"""Finished pieces of the study: a file of arrays each, with the recipe that determines it."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_RECIPE = "recipe"
_LIBRARIES = ("onnxspace", "torch", "onnxruntime", "numpy", "scipy")


def digest_recipe(facts: Mapping[str, Any]) -> str:
    """64 hex digits for facts of JSON values, and the versions of the libraries that compute."""
    known = {**facts, "versions": {name: _find_version(name) for name in _LIBRARIES}}
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def _find_version(name: str) -> str:
    try:
        return version(name)
    except ModuleNotFoundError:
        return "none"


@dataclass(frozen=True)
class Cache:
    """Pieces in `folder`; one that is damaged, or was made by another recipe, counts as not there."""

    folder: Path

    def read(self, name: str, wanted: str) -> Arrays | None:
        """The arrays of a piece, None where it has to be made."""
        try:
            with np.load(self._file(name), allow_pickle=False) as found:
                if str(found[_RECIPE]) != wanted:
                    return None
                return {key: found[key] for key in found.files if key != _RECIPE}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None

    def write(self, name: str, made_by: str, arrays: Arrays) -> None:
        """Beside its place, flushed, then renamed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{name}.{os.getpid()}.npz"
        try:
            with partial.open("wb") as file:
                np.savez(file, **{_RECIPE: np.array(made_by)}, **arrays)  # type: ignore[arg-type, unused-ignore]
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._file(name))
        finally:
            partial.unlink(missing_ok=True)

    def get(self, name: str, wanted: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a piece, made where they are not there yet."""
        found = self.read(name, wanted)
        if found is None:
            found = make()
            self.write(name, wanted, found)
        return found

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npz"
