"""Other people's errors in one sentence, and other people's files by their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from onnxspace.errors import ModelError, ModelNotFoundError, OnnxspaceError

_LENGTH = 300
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_PATHS = re.compile(r"(/[\w.@+-]+){3,}/([\w.@+-]+)")


def describe_error(error: BaseException) -> str:
    """What an error says in one line: an own error's words, any other's kind and first lines."""
    while not isinstance(error, OnnxspaceError) and error.__cause__ is not None:
        error = error.__cause__  # exporters wrap what matters in advice for their own users
    words = " ".join(_COLOURS.sub("", str(error)).split())
    if isinstance(error, OnnxspaceError):
        return words.rstrip(".")
    bare = _PATHS.sub(r"\2", words)
    return f"{type(error).__name__}: {bare[:_LENGTH]}".rstrip(": .")


def require_file(path: str | Path, option: str) -> Path:
    """The path of a file that is there. Raises ModelNotFoundError naming the option that gave it."""
    found = Path(path)
    if not found.is_file():
        raise ModelNotFoundError(f"{path}: no such file. Check the path given{f' to {option}' if option else ''}.")
    return found


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 of files, of a folder's in the order of their names. Raises ModelError for one that can't be read."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as content:
                each = hashlib.file_digest(content, "sha256").digest()
        except OSError as error:
            raise ModelError(f"{file} can't be read ({error.strerror or error}). Check its permissions.") from error
        if len(files) == 1:
            return each.hex()
        digest.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + each)
    return digest.hexdigest()
