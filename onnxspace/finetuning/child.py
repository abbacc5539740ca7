"""The worker process: reads requests from standard input, a JSON object a line, and answers each on a line of its own."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main() -> None:
    """Answer requests until standard input ends; a failed one is answered with `{"error": sentence}`."""
    threads = int(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with answers
    import torch

    from onnxspace.finetuning.jobs import perform
    from onnxspace.quiet import silence_libraries

    torch.set_num_threads(threads)
    with silence_libraries():
        for line in sys.stdin:
            request = json.loads(line)
            print(json.dumps(_answer(perform, request)), file=answers, flush=True)


def _answer(perform: Any, request: dict[str, Any]) -> dict[str, Any]:
    from onnxspace.errors import OnnxspaceError, unexpected

    try:
        return dict(perform(request))
    except OnnxspaceError as error:
        return {"error": str(error)}
    except Exception as error:  # a defect in a library, for one model
        model = request.get("model") or request.get("run", {}).get("model", {})
        return {"error": unexpected(model.get("path"), error)}


if __name__ == "__main__":
    main()
