"""CUDA graphs: what a pass launches on a GPU is recorded once, and launched anew as a whole for batches of the same shape.

The whole function from the batch to the gradient is recorded. Of Torch's other ways, `torch.compile(backend="cudagraphs")` leaves out
without an error what it can't record, and `make_graphed_callables` records forward and backward pass apart, each with memory of its own.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

#: Held while a pass is recorded: a process can record one at a time, and must not wait for a GPU that records.
RECORDING = threading.Lock()


@dataclass(frozen=True)
class Recording:
    """What was recorded: `replay` computes it anew, from the tensors that it read and into `output`. `held` stays alive with it."""

    replay: Callable[[], object]
    output: Tensor
    held: object = None


class Recorder(Protocol):
    """Records what a function computes."""

    def warm_up(self, compute: Callable[[], Tensor]) -> Tensor:
        """Call `compute`, whose first call may prepare what can't be recorded; returns its result, which nothing overwrites."""
        ...

    def record(self, compute: Callable[[], Tensor]) -> Recording:
        """Record what `compute` does, without doing it. Raises RuntimeError for what can't be recorded."""
        ...


class CudaRecorder:
    """Records on a CUDA device, on a stream of its own.

    A recording keeps addresses of tensors. `check_input_liveness`, in the versions of Torch that have it, raises RuntimeError in a
    replay where one of those that are not the recording's own no longer exists.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: Any = None

    def warm_up(self, compute: Callable[[], Tensor]) -> Tensor:
        """As `Recorder`: on the stream that records, since libraries prepare workspaces for each stream."""
        with torch.cuda.device(self.device):
            stream = self._find_stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                found = compute()
            torch.cuda.current_stream().wait_stream(stream)
        found.record_stream(torch.cuda.current_stream(self.device))
        return found

    def record(self, compute: Callable[[], Tensor]) -> Recording:
        """As `Recorder`; other threads may use the GPU meanwhile, as the one does that prepares the next batch."""
        graph, stream = torch.cuda.CUDAGraph(), self._find_stream()
        options = {"stream": stream, "capture_error_mode": "thread_local", **_list_checks()}
        # `graph` does not leave the stream where recording fails
        with RECORDING, torch.cuda.device(self.device), torch.cuda.stream(stream), torch.cuda.graph(graph, **options):
            output = compute()
        return Recording(graph.replay, output, graph)

    def _find_stream(self) -> Any:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        return self._stream


def _list_checks() -> dict[str, Any]:
    known = inspect.signature(torch.cuda.graph.__init__).parameters
    return {"check_input_liveness": True} if "check_input_liveness" in known else {}
