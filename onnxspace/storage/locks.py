"""A lock on an open file, released when the process that holds it ends."""

from __future__ import annotations

import sys

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
