"""Files that users name: whether they exist, their checksum, and what a library's error on them says."""

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
    """An error on one line: the message of an OnnxspaceError, type and shortened message of any other."""
    while not isinstance(error, OnnxspaceError) and error.__cause__ is not None:
        error = error.__cause__  # exporters wrap the cause in advice to their own users
    words = " ".join(_COLOURS.sub("", str(error)).split())
    if isinstance(error, OnnxspaceError):
        return words.rstrip(".")
    bare = _PATHS.sub(r"\2", words)
    return f"{type(error).__name__}: {bare[:_LENGTH]}".rstrip(": .")


def require_file(path: str | Path, option: str) -> Path:
    """The path of an existing file. Raises ModelNotFoundError, which names the `option` that gave it, if any."""
    found = Path(path)
    if not found.is_file():
        raise ModelNotFoundError(f"{path}: no such file. Check the path given{f' to {option}' if option else ''}.")
    return found


def hash_files(paths: Iterable[Path]) -> str:
    """The SHA-256 of files, and of folders' files in the order of their names. Raises ModelError for one that can't be read."""
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
