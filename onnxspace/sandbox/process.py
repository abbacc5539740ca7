"""Starting and ending a worker process, and the sentence for one that ended before its answer.

It runs in a session of its own, so that Ctrl-C reaches the parent alone; without the current folder on its path, which may be an
untrusted checkout; and it ends with its parent.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from onnxspace.sandbox.limits import Limits

CHILD = "onnxspace.sandbox.child"
#: Environment variables that reach a worker: what libraries need to be found and to compute as in the parent, no secrets.
_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TEMP|TMP|SYSTEMROOT|SYSTEMDRIVE|WINDIR|COMSPEC|PATHEXT|APPDATA|"
    r"LOCALAPPDATA|USERPROFILE|PROCESSOR_\w+|NUMBER_OF_PROCESSORS|VIRTUAL_ENV|CONDA_PREFIX|LD_LIBRARY_PATH|LD_PRELOAD|DYLD_\w+|"
    r"XDG_CACHE_HOME|(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMEXPR|DNNL|ONEDNN|ATEN|TORCH|TORCHINDUCTOR|PYTORCH|ORT|CUDA|CUDNN|"
    r"CUBLAS|NCCL|NVIDIA|TRITON|MALLOC|ONNXSPACE)_\w+|PYTHON(HASHSEED|UTF8|IOENCODING|DONTWRITEBYTECODE|PYCACHEPREFIX|WARNINGS|HOME)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Process:
    """A worker process, and the end of a pipe by whose closing the child notices that its parent has ended."""

    popen: subprocess.Popen[bytes]
    lifeline: int | None

    @property
    def pid(self) -> int:
        """Its number."""
        return self.popen.pid

    def kill(self) -> None:
        """Kill the process and whatever it has started."""
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.popen.pid, signal.SIGKILL)
            else:
                self.popen.kill()

    def wait_for_end(self, seconds: float = 1.0) -> None:
        """Wait for a process that has closed its output, so that `end` returns how it ended and not the signal that `end` sends."""
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)

    def end(self) -> int:
        """End the process and whatever it has started; returns its exit code, or minus the signal that ended it before."""
        before = self.popen.poll()
        self.kill()
        code = self.popen.wait()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if self.lifeline is not None:
            with suppress(OSError):
                os.close(self.lifeline)
        return code if before is None else before


def start_process(
    arguments: Sequence[str], environment: Mapping[str, str], module: str = CHILD, python: str = "",
    printed: IO[bytes] | int = subprocess.DEVNULL,
) -> Process:  # fmt: skip
    """Start a process that runs a `module` with the name of its lifeline and these arguments, its input and output connected.

    `environment` has all its variables; `python` is the interpreter (empty: this one), `printed` the file that gets what it prints to
    stderr. Raises OSError.
    """
    ours, theirs = _make_lifeline()
    try:
        # -P: must not import a file such as torch.py from the current folder, which may be an untrusted checkout.
        popen = subprocess.Popen(
            [python or sys.executable, "-P", "-m", module, _name_pipe(theirs), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=printed, env=environment, start_new_session=True,
            pass_fds=[] if theirs is None else [theirs],
        )  # fmt: skip
    except BaseException:
        if ours is not None:
            os.close(ours)
        raise
    finally:
        if theirs is not None:
            os.close(theirs)
    return Process(popen, ours)


def _name_pipe(number: int | None) -> str:
    """A pipe by the number of its descriptor and its inode, by which the child makes sure that it has got it."""
    return "" if number is None else f"{number}:{os.fstat(number).st_ino}"


def _make_lifeline() -> tuple[int | None, int | None]:
    if os.name != "posix":
        return None, None
    theirs, ours = os.pipe()
    return ours, theirs


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a worker needs: not those that hold secrets, and no relative entries in PYTHONPATH."""
    kept = {name: value for name, value in environment.items() if _PASSED.fullmatch(name)}
    folders = [folder for folder in environment.get("PYTHONPATH", "").split(os.pathsep) if Path(folder).is_absolute()]
    return {**kept, **({"PYTHONPATH": os.pathsep.join(folders)} if folders else {})}


def describe_end(path: str, code: int, limits: Limits) -> str:
    """The sentence for the model `path`, during which its worker ended with `code` (minus a signal, as of `Popen`)."""
    size = f"{limits.memory / 2**30:.3g}G"
    if is_out_of_time(code):
        return f"{path} was stopped after {limits.cpu} seconds of processor time. {leave_out('cpu')}"
    if -code in (getattr(signal, "SIGKILL", 9), signal.SIGABRT):
        return f"{path} ended the process that read it (signal {-code}), probably out of memory (limit {size}). {leave_out('memory')}"
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return f"{path} ended the process that read it ({how}). Leave it out, or export it again."


def is_out_of_time(code: int) -> bool:
    """Whether a process that ended with `code` had used up its processor time."""
    return code == -getattr(signal, "SIGXCPU", 0)


def describe_timeout(path: str, seconds: float) -> str:
    """The sentence for a model that took longer than its limit of so many seconds."""
    return f"{path} was stopped after {seconds:.0f} seconds. {leave_out('wall')}"


def describe_slow_start(path: str, seconds: float) -> str:
    """The sentence for a model whose worker has not started within so many seconds, which has nothing to do with the model."""
    return (
        f"{path} was not opened, since the process that reads models had not started after {seconds:.0f} seconds. Try again when this"
        " machine is less busy."
    )


def describe_failed_start(path: str, code: int) -> str:
    """The sentence for a model whose worker ended with `code` before it was ready, which has nothing to do with the model."""
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return (
        f"{path} was not opened, since the process that reads models ended while it started ({how}). Allow more memory with"
        " --limits memory=…, or install onnxspace again."
    )


def describe_shortage(path: str, limits: Limits) -> str:
    """The sentence for a model that needed more memory than its limit."""
    return f"{path} needs more than {limits.memory / 2**30:.3g}G of memory. {leave_out('memory')}"


def leave_out(limit: str) -> str:
    """The way out for a model that exceeded this limit."""
    return f"Leave it out, or allow more with --limits {limit}=…."
