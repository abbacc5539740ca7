"""The process that converts: an order as one line of JSON on stdin, events as lines of JSON on what stdout was.

It ends with the process that started it. What libraries print goes to stderr.
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
    """Where events go; whatever else prints to stdout lands on stderr."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> int:
    """Carry out one order. The exit code is 0 where its facts were sent, else 2."""
    events = _redirect_stdout()
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(**event: Any) -> None:
        print(json.dumps(event), file=events, flush=True)

    from onnxspace.errors import OnnxspaceError
    from onnxspace.exporters import Request, run

    request = Request.from_dict(order["request"], lambda *step: send(progress=step))
    try:
        facts = run(order["source"], Path(order["destination"]), request)
    except OnnxspaceError as error:
        text = error.args[-1] if isinstance(error, OSError) and error.args else error
        send(error=type(error).__name__, message=str(text))
        return 2
    except Exception as error:
        traceback.print_exc()
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(": .")
        send(
            error="ModelError", message=f"{order['source']}: the conversion failed unexpectedly ({words}). Please report this."
        )
        return 2
    send(facts=facts.to_dict())
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # frameworks take seconds to put their things away, and some crash at it
