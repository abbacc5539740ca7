"""Check untrusted zip archives before anything loads them."""

from __future__ import annotations

import zipfile
from pathlib import Path

from onnxspace.errors import ModelError
from onnxspace_converters.files import describe_error, require_file

_SPARE = 64 * 2**20
_AGAIN = "Save or copy it again."


def list_members(path: Path, kind: str) -> list[str]:
    """The names of a zip archive's members. `kind` names its framework in errors.

    Raises ModelError for an archive that is damaged, or that expands to far more than its own size.
    """
    require_file(path, "")
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} is not an archive of {kind}, or is truncated. {_AGAIN}")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > 4 * path.stat().st_size + _SPARE:
                raise ModelError(f"{path} would expand to {size:,} bytes. {_AGAIN}")
            if (damaged := archive.testzip()) is not None:
                raise ModelError(f"{path} is damaged: the checksum of {damaged!r} is wrong. {_AGAIN}")
            return archive.namelist()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"{path} is a damaged archive ({describe_error(error)}). {_AGAIN}") from error
