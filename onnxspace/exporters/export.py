"""Convert a model of any framework into a verified ONNX file and its sidecar, both whole or not at all.

The framework runs in a process of its own under the limits of the sandbox, since it may flood the terminal, patch other libraries,
crash, or never end. Its output is captured, and an error quotes the last line.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, TypeGuard

from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, OutputError
from onnxspace.exporters.api import Facts, Progress, Request
from onnxspace.exporters.sidecar import may_write, sidecar_of, sidecar_text
from onnxspace.sandbox.limits import Limits, resolve_limits
from onnxspace.sandbox.process import Process, describe_end, describe_timeout, is_out_of_time, leave_out, start_process
from onnxspace.sandbox.processors import thread_environment
from onnxspace.sandbox.worker import Alarm, receive_messages, send_message, take_result
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.json_fields import is_text

_CONVERTERS = "onnxspace_converters"
_MOST_TEXT = 2**16


@dataclass(frozen=True)
class _Caller:
    """The interpreter that converts, and the callback to which progress is reported."""

    python: str
    report: Progress


def to_onnx(
    source: str | Path,
    output: str | Path,
    request: Request | None = None,
    *,
    python: str | Path | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
) -> Facts:
    """Convert a model of another framework into an ONNX file, checked against that framework, with a sidecar beside it.

    `source` is a file or folder, `package.module:factory`, or `timm:NAME` and the like; `output` is the `.onnx` file to write;
    `request` holds the options; `python` is another interpreter to convert with, in which onnxspace is installed; `progress` is
    called with what is being done, how many steps are done, and how many there are; `limits` are those of the process that converts,
    such as `memory=4G,cpu=600,wall=300`, with times that hold for a step (None: those of this machine). Returns facts of the file.
    Neither file is written before the outputs of framework and file agree. Raises ModelError and its subclasses, ConfigError for a request that
    can't be met, OutputError where the files can't be written.

    >>> to_onnx("timm:resnet18", "resnet18.onnx").framework  # doctest: +SKIP
    'PyTorch (timm)'
    """
    target = Path(output)
    if target.suffix.lower() != ".onnx":
        raise OutputError(f"{target} is not a name for an ONNX file. Name a file that ends in .onnx as --output.")
    with whole_file(target) as partial:
        caller = _Caller(str(python or sys.executable), progress or (lambda what, done, total: None))
        facts = _convert_in_child(str(source), partial, request or Request(), resolve_limits(limits), caller)
        beside = sidecar_of(target)
        if may_write(beside):
            with whole_file(beside) as text:
                text.write_text(sidecar_text(str(source), facts), "utf-8")
        else:
            facts = replace(facts, remarks=(*facts.remarks, f"{beside} already exists, and is left as it is."))
    return facts


def _convert_in_child(source: str, destination: Path, request: Request, limits: Limits, called: _Caller) -> Facts:
    order = {"source": source, "destination": str(destination), "request": request.to_dict(), "limits": asdict(limits)}
    with (
        tempfile.TemporaryFile() as printed,
        _start_child(called.python, printed) as child,
        Alarm(limits.wall, child.kill) as alarm,
    ):
        send_message(child, order)
        for found in receive_messages(child):
            if isinstance(answer := found.get("answer"), dict):
                return _read_facts(source, take_result(answer))
            if _is_step(step := found.get("progress")):
                alarm.restart()
                called.report(*step)
        code = child.end()
        if alarm.rang:
            raise ModelError(describe_timeout(source, limits.wall))
        if is_out_of_time(code):
            raise ModelError(describe_end(source, code, limits))
        raise _describe_failure(source, called.python, code, _last_words(printed))


def _is_step(step: Any) -> TypeGuard[tuple[str, int, int]]:
    """Whether a message says what is being done, how many steps are done, and how many there are."""
    return isinstance(step, list) and list(map(type, step)) == [str, int, int]


def _read_facts(source: str, found: Any) -> Facts:
    """The facts in an answer. Raises ModelError: what the file made of the process that converted it may have written them."""
    try:
        facts = Facts.from_dict(found)
        texts = (facts.framework, facts.route, *facts.remarks, *filter(None, (facts.source_sha256, facts.encoder)))
        if type(facts.opset) is not int or not all(is_text(text, _MOST_TEXT) for text in texts):
            raise TypeError("its fields are of other types")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{source} ended the process that converted it (its answer has another form). Leave it out."
        ) from error
    return facts


@contextmanager
def _start_child(python: str, printed: IO[bytes]) -> Iterator[Process]:
    """Start the process that converts; it ends with the block.

    It has the environment of this one: frameworks need it to find their files, caches, proxies and tokens.
    """
    try:
        child = start_process([], {**os.environ, **thread_environment(os.environ)}, _CONVERTERS, python, printed)
    except OSError as error:
        raise ConfigError(
            f"--python {python} can't be started ({error.strerror or error}). Name a Python interpreter."
        ) from error
    try:
        yield child
    finally:
        child.end()


def _describe_failure(source: str, python: str, code: int, words: str) -> OnnxspaceError:
    if f"No module named {_CONVERTERS}" in words:
        return ConfigError(f"{python} has no onnxspace. Install it there: {python} -m pip install onnxspace")
    how = f"by signal {-code}" if code < 0 else f"with code {code}"
    return ModelError(f"{source}: the conversion ended {how}{f' ({words})' if words else ''}. {leave_out('memory')}")


def _last_words(printed: IO[bytes]) -> str:
    """The last line that a process printed."""
    printed.seek(max(0, printed.seek(0, 2) - 4096))
    lines = printed.read().decode("utf-8", "replace").split("\n")
    return next((line.strip()[:300].rstrip(".") for line in reversed(lines) if line.strip()), "")
