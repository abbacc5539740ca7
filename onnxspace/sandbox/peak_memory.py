"""The largest memory of this process, since it began or since it was asked last."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def take_peak_memory() -> int:
    """Return the most bytes of memory that this process has had since the last call, and begin anew.

    Where the system can't begin anew (all but Linux), it is the most since the process began; 0 where it is unknown.
    """
    with suppress(OSError, ValueError):
        found = _PEAK.search(_STATUS.read_text("ascii"))
        if found is not None:
            with suppress(OSError):
                _RESET.write_text("5")  # the peak alone
            return int(found[1]) * 1024
    with suppress(ImportError, OSError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return 0
