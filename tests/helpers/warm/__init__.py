"""A Python interpreter that has Torch, ONNX and onnxspace imported already, for tests that start processes.

A fresh process spends two seconds of processor time on imports, most tests of processes a tenth of that on what they are about.
`interpreter` gives an executable that takes the words of `python`: `-P`, `-m MODULE`, `-c CODE`. It asks a server, which is one
process without threads, to fork. The child is a real process with the caller's streams, environment and folder, its own process
group, limits, signals and exit status; when the executable is killed, so is the child.

What it is not good for: environment variables that libraries read when they are imported, what is imported at all, streams
that are closed or full when the interpreter starts. Those tests take `sys.executable`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HERE = Path(__file__).parent


@contextmanager
def interpreter(folder: Path) -> Iterator[Path]:
    """The path of such an executable, written into `folder`, for as long as the block lasts.

    Where the system can't watch processes by a file descriptor (others than Linux), an ordinary interpreter.
    """
    if not hasattr(os, "pidfd_open"):
        yield Path(sys.executable)
        return
    executable, address = folder / "python", folder / "socket"
    command = shlex.join([sys.executable, "-I", "-S", str(_HERE / "client.py"), str(address), str(executable)])
    executable.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    executable.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    server = subprocess.Popen(
        [sys.executable, str(_HERE / "server.py"), str(address)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True, env=environment,
    )  # fmt: skip
    with server:
        assert server.stdout is not None
        assert server.stdout.read(5) == b"ready", "the server of warm interpreters ended"
        yield executable
        assert server.stdin is not None
        server.stdin.close()  # which ends it
