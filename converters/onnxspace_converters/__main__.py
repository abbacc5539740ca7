"""The process that converts: it reads an order as one line of JSON on stdin, and writes events as lines of JSON to stdout.

It ends with the process that started it. What libraries print to stdout goes to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO


def _redirect_stdout() -> TextIO:
    """A stream for events to the original stdout; anything else printed to stdout goes to stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def limit_resources(memory: int, cpu: int) -> None:
    """Limit this process to `memory` bytes of data and `cpu` seconds of processor time, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: only the parent's time limit applies
        return
    # Not the address space: frameworks reserve far more of it than they ever use.
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Carry out one order. The exit code is 0 if the conversion's facts were sent, else 2."""
    events = _redirect_stdout()
    order = json.loads(sys.stdin.buffer.readline())
    limit_resources(order["limits"]["memory"], order["limits"]["cpu"])
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    from onnxspace.errors import OnnxspaceError, unexpected
    from onnxspace.exporters import Request, run

    request = Request.from_dict(order["request"], lambda *step: send(progress=step))
    try:
        facts = run(order["source"], Path(order["destination"]), request)
    except OnnxspaceError as error:
        text = error.args[-1] if isinstance(error, OSError) and error.args else error
        send(error=type(error).__name__, message=str(text))
        return 2
    except MemoryError:
        needed = f"more than {order['limits']['memory'] / 2**30:.3g} GiB of memory"
        send(error="ModelError", message=f"{order['source']} needs {needed} to be converted. Convert it on a larger machine.")
        return 2
    except Exception as error:
        traceback.print_exc()
        send(error="ModelError", message=f"{unexpected(order['source'], error)} Please report this.")
        return 2
    send(facts=facts.to_dict())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # frameworks take seconds to shut down, and some crash
