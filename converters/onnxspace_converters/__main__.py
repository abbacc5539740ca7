"""The process that converts: `python -P -m onnxspace_converters LIFELINE`.

It reads an order as one line of JSON on stdin, and writes progress and the answer to stdout, a JSON object a line; what libraries
print there goes to stderr. It has the limits of the sandbox, and ends with the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxspace.sandbox.child import carry_out, end_with_parent, limit_memory, limit_processor, write_line
from onnxspace.sandbox.limits import Limits


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main(arguments: list[str]) -> int:
    """Carry out one order. The exit code is 0 if the conversion's facts were sent, else 2."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    end_with_parent(arguments[0] if arguments else "")
    order = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    limits = Limits(**order["limits"])
    limit_memory(limits.memory)
    limit_processor(limits.cpu)

    def report(*step: Any) -> None:
        limit_processor(limits.cpu)
        write_line(answers, {"progress": step})

    request = {"task": "convert", "path": order["source"], "order": order, "report": report}
    answer = carry_out({"convert": _convert}, request, limits, lambda images: None)
    write_line(answers, {"answer": answer})
    return 2 if "error" in answer else 0


def _convert(request: Mapping[str, Any], _advance: Callable[[int], None]) -> Mapping[str, Any]:
    from onnxspace.exporters import Request, run

    order = request["order"]
    return run(order["source"], Path(order["destination"]), Request.from_dict(order["request"], request["report"])).to_dict()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # frameworks take seconds to shut down, and some crash
