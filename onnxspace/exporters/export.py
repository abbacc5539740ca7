"""Convert a model of any framework into a verified ONNX file and its sidecar, both whole or not at all.

The framework runs in a process of its own under limits, since it may flood the terminal, patch other libraries, crash, or never
end. Its output is captured, and an error quotes the last line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from onnxspace import errors
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError
from onnxspace.exporters.api import Facts, Progress, Request
from onnxspace.exporters.sidecar import may_write, sidecar_of, sidecar_text
from onnxspace.storage.atomic import whole_file

_WORKER = "onnxspace_converters"


@dataclass(frozen=True)
class ConversionLimits:
    """Limits of the process that converts: `memory` in bytes, `cpu` and `wall` in seconds."""

    memory: int
    cpu: int = 7200
    wall: int = 3600

    @classmethod
    def of_this_machine(cls) -> ConversionLimits:
        """Three quarters of the machine's memory, at least 4 GiB."""
        try:
            installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, OSError, ValueError):  # not on Windows, where memory is not limited either
            installed = 0
        return cls(max(installed * 3 // 4, 4 * 2**30))


def to_onnx(
    source: str | Path,
    output: str | Path,
    request: Request | None = None,
    *,
    python: str | Path | None = None,
    progress: Progress | None = None,
) -> Facts:
    """Convert a model of another framework into an ONNX file, checked against that framework, with a sidecar beside it.

    `source` is a file or folder, `package.module:factory`, or `timm:NAME` and the like; `output` is the `.onnx` file to write;
    `request` holds the options; `python` is another interpreter to convert with, in which onnxspace is installed; `progress` is
    called with what is being done, how many steps are done, and how many there are. Returns facts of the file. Neither file is
    written before the outputs of framework and file agree. Raises ModelError and its subclasses, ConfigError for a request that
    can't be met, OutputError where the files can't be written.

    >>> to_onnx("timm:resnet18", "resnet18.onnx").framework  # doctest: +SKIP
    'PyTorch (timm)'
    """
    target = Path(output)
    if target.suffix.lower() != ".onnx":
        raise OutputError(f"{target} is not a name for an ONNX file. Name a file that ends in .onnx as --output.")
    with whole_file(target) as partial:
        facts = _convert_in_child(str(source), partial, request or Request(), str(python or sys.executable), progress)
        beside = sidecar_of(target)
        if may_write(beside):
            with whole_file(beside) as text:
                text.write_text(sidecar_text(str(source), facts), "utf-8")
        else:
            facts = replace(facts, remarks=(*facts.remarks, f"{beside} already exists, and is left as it is."))
    return facts


def _convert_in_child(source: str, destination: Path, request: Request, python: str, progress: Progress | None) -> Facts:
    limits = ConversionLimits.of_this_machine()
    order = {"source": source, "destination": str(destination), "request": request.to_dict(), "limits": asdict(limits)}
    with (
        tempfile.TemporaryFile() as chatter,
        _start_child(python, chatter) as child,
        _stop_after(limits.wall, child) as stopped,
    ):
        assert child.stdin is not None
        assert child.stdout is not None
        with suppress(BrokenPipeError):  # it has ended; the reason is found below
            child.stdin.write(json.dumps(order).encode() + b"\n")
            child.stdin.flush()
        for line in child.stdout:
            found = _parse_event(line)
            if found.get("facts") is not None:
                return Facts.from_dict(found["facts"])
            if found.get("error") is not None:
                raise _rebuild_error(found)
            if found.get("progress") is not None and progress is not None:
                progress(*found["progress"])
        code = child.wait()
        if stopped.is_set():
            raise ModelError(f"{source}: the conversion was stopped after {limits.wall} seconds. Convert it separately.")
        if code == -getattr(signal, "SIGXCPU", 0):
            raise ModelError(
                f"{source}: the conversion was stopped after {limits.cpu} seconds of processor time. Convert it separately."
            )
        raise _describe_end(source, python, code, _last_words(chatter))


@contextmanager
def _stop_after(seconds: float, child: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Kill the child after a time, unless the block ends before; the event says whether that happened."""
    stopped = threading.Event()

    def stop() -> None:
        stopped.set()
        child.kill()

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield stopped
    finally:
        timer.cancel()


@contextmanager
def _start_child(python: str, chatter: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start the process that converts; it is killed if the block ends before it does."""
    # -P: must not import a file such as torch.py from the current folder, which may be an untrusted checkout.
    command = [python, "-P", "-m", _WORKER]
    try:
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=chatter)
    except OSError as error:
        raise ConfigError(
            f"--python {python} can't be started ({error.strerror or error}). Name a Python interpreter."
        ) from error
    with child:
        try:
            yield child
        finally:
            if child.poll() is None:
                child.kill()
            with suppress(OSError):  # closing flushes to a process that may have ended
                child.stdin.close()  # type: ignore[union-attr]


def _parse_event(line: bytes) -> dict[str, Any]:
    """Parse a message of the child; empty for what a library printed despite the redirection."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _rebuild_error(found: dict[str, Any]) -> OnnxspaceError:
    kind = getattr(errors, str(found["error"]), ModelError)
    known = isinstance(kind, type) and issubclass(kind, OnnxspaceError)
    made: OnnxspaceError = (kind if known else ModelError)(str(found.get("message", "")))
    return made


def _describe_end(source: str, python: str, code: int, words: str) -> OnnxspaceError:
    if f"No module named {_WORKER}" in words:
        return ConfigError(f"{python} has no onnxspace. Install it there: {python} -m pip install onnxspace")
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return ModelError(
        f"{source}: the conversion ended {how}{f' ({words})' if words else ''}. Convert it separately, with more memory."
    )


def _last_words(chatter: IO[bytes]) -> str:
    """The last line that a process printed."""
    chatter.seek(max(0, chatter.seek(0, 2) - 4096))
    lines = chatter.read().decode("utf-8", "replace").split("\n")
    return next((line.strip()[:300].rstrip(".") for line in reversed(lines) if line.strip()), "")
