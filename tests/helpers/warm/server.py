"""Forks interpreters that have imported everything: `server.py SOCKET`; ends with its standard input."""

from __future__ import annotations

import atexit
import builtins
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

#: What the children of tests need, and nothing that starts a thread.
MODULES = (
    "torch",
    "torch._dynamo",
    "torch.export._trace",
    "torch.onnx._internal.exporter._core",
    "torchvision",
    "onnx",
    "onnxruntime",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "scipy.sparse",
    "scipy.stats",
    "onnxspace.cli",
    "onnxspace.checking.run",
    "onnxspace.checking.child.tasks",
    "onnxspace.workflows.run",
    "onnxspace.workflows.add_to_space",
    "onnxspace.report.heatmap",
    "onnxspace.report.result_folder",
    "onnxspace_converters.__main__",
    "onnxspace_converters.from_torch",
)


def serve(address: str) -> dict[str, Any]:
    """Answer until standard input ends. Returns in a child, with what it is to run."""
    waiting: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor of the child's end: process and client
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        print("ready", end="", flush=True)
        while True:
            clients = {client.fileno(): ended for ended, (_, client) in waiting.items()}
            ready, _, _ = select.select([sys.stdin, listener, *waiting, *clients], [], [])
            if listener in ready:
                client, _ = listener.accept()
                try:
                    order, streams = received(client)
                except (OSError, ValueError):  # the client was killed before it had said all
                    client.close()
                    continue
                child = os.fork()
                if child == 0:
                    client.close()
                    for ended, (_, other) in waiting.items():
                        os.close(ended)
                        other.close()
                    for place, stream in enumerate(streams):
                        os.dup2(stream, place)
                    for stream in streams:
                        os.close(stream)
                    return order
                for stream in streams:
                    os.close(stream)
                waiting[os.pidfd_open(child)] = (child, client)
                with suppress(OSError):  # a client that was killed meanwhile is noticed below
                    client.sendall(b"%d\n" % child)
                continue
            for ended in [ended for ended in waiting if ended in ready]:
                child, client = waiting.pop(ended)
                os.close(ended)
                status = os.waitpid(child, 0)[1]
                with client:
                    try:
                        client.sendall(b"%d\n" % status)
                    except OSError:  # the client was killed: so was the child
                        continue
            for number in [number for number in clients if number in ready and clients[number] in waiting]:
                kill(waiting[clients[number]][0])  # the client says nothing more, so it has ended
            if sys.stdin in ready:
                for child, _ in waiting.values():
                    kill(child)
                sys.exit()


def kill(child: int) -> None:
    """A child with all of its group, if it leads one."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(child, signal.SIGKILL)


def received(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a client wants to run, and its standard streams."""
    head, streams, _, _ = socket.recv_fds(client, 8, 3)
    try:
        with client.makefile("rb") as reader:
            order: dict[str, Any] = json.loads(reader.read(int.from_bytes(head, "big")))
    except (OSError, ValueError):
        for stream in streams:
            os.close(stream)
        raise
    return order, streams


def run(order: dict[str, Any]) -> None:
    """Be the interpreter that the client was asked to be."""
    os.setsid()
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    sys.executable = order["executable"]
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    for place, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        raw = io.TextIOWrapper(
            open(place, mode + "b", closefd=False),  # noqa: SIM115
            encoding, errors or ("backslashreplace" if name == "stderr" else "strict"), line_buffering=name == "stderr",
        )  # fmt: skip
        setattr(sys, name, raw)
        setattr(sys, f"__{name}__", raw)
    arguments = list(order["arguments"])
    safe = arguments[0] == "-P"
    kind, what, *rest = arguments[1:] if safe else arguments
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path not in sys.path]
    if not safe:
        sys.path.insert(0, order["folder"] if kind == "-m" else "")
    if kind == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    sys.argv = ["-c", *rest]
    main = type(sys)("__main__")
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = main
    exec(compile(what, "<string>", "exec"), vars(main))


def end(function: Callable[..., None], *arguments: Any) -> NoReturn:
    """Call a function and end as an interpreter does, without taking apart all that the server has imported."""
    code: object = 0
    try:
        function(*arguments)
    except SystemExit as stopped:
        code = stopped.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    os._exit(int(code or 0) & 0xFF)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[3])  # the repository, as pytest has it, in the place of this folder
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # which would be a thread
    for module in MODULES:
        importlib.import_module(module)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a library has started a thread, which no child would have"
    gc.collect()
    gc.freeze()  # children share the memory of all this
    order = serve(sys.argv[1])
    del sys.path[0]
    end(run, order)
