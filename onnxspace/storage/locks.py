"""A lock on an open file, released when the process that holds it ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxspace.errors import OutputError

_PAUSE = 0.05  # seconds between two attempts

if sys.platform == "win32":
    import msvcrt

    def try_lock(number: int, *, unknown: bool = True) -> bool:
        """Lock the open file `number`; False where another process holds it, `unknown` on file systems without locks."""
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(number: int, *, unknown: bool = True) -> bool:
        """Lock the open file `number`; False where another process holds it, `unknown` on file systems without locks."""
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return unknown
        return True


@contextmanager
def hold_lock(path: Path, seconds: float = 30.0) -> Iterator[None]:
    """Hold a lock on the file `path`, which is created and stays; wait up to `seconds` for it. Raises OutputError.

    >>> from onnxspace.storage.atomic import scratch_folder
    >>> with scratch_folder() as folder, hold_lock(folder / "lock"):
    ...     (folder / "lock").exists()
    True
    """
    end = time.monotonic() + seconds
    with path.open("ab") as file:
        while not try_lock(file.fileno()):
            if time.monotonic() > end:
                raise OutputError(None, f"{path} is locked by another process. Wait until it has ended.")
            time.sleep(_PAUSE)
        yield
