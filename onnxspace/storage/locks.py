"""A lock on an open file that ends with the process that holds it."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt

    def take(number: int, *, unknown: bool = True) -> bool:
        """Take the lock of an open file; False where another process holds it, `unknown` on a disk that knows no locks."""
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def take(number: int, *, unknown: bool = True) -> bool:
        """Take the lock of an open file; False where another process holds it, `unknown` on a disk that knows no locks."""
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a disk that knows no locks
            return unknown
        return True
