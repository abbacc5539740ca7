"""A pass that is recorded and replayed for batches of one shape, and computed as usual wherever that is not right.

A recording reads its input from buffers of its own and writes its result to another: a batch is copied in, and its result copied out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onnxspace.attribution.cuda_graphs import Recorder, Recording
from onnxspace.errors import quote_message
from onnxspace.torchgraph.operators.interpolation import hold_taps

#: The least cosine of a result with that of the same pass as it is usually computed.
LEAST_COSINE = 0.9999
#: The distance of two results, in lengths of one, at which their cosine is that at least.
MOST_DISTANCE = math.sqrt(1 - LEAST_COSINE**2)

Compute = Callable[..., Tensor]
_Shapes = tuple[Any, ...]


@dataclass(frozen=True)
class _Replay:
    """A recording with its input buffers, for inputs of these shapes."""

    shapes: _Shapes
    buffers: Sequence[Tensor]
    recording: Recording
    held: object

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        for buffer, given in zip(self.buffers, inputs, strict=True):
            buffer.copy_(given.detach())
        self.recording.replay()
        return self.recording.output.clone()


class RecordedPass:
    """Runs a function of tensors, and records it where a shape of them recurs.

    The first result of a recording is compared with that of the function itself. Where recording fails, or the results differ by more
    than `MOST_DISTANCE` for an image, the function is called from then on, and `remark` says so in a sentence without the model's name.
    One shape is recorded; inputs of others, such as the last images of a run, are passed to the function.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.remark = ""
        self._recorder = recorder
        self._seen: set[_Shapes] = set()
        self._replay: _Replay | None = None

    def run(self, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        """Return what `compute` does for `inputs`, tensors with images as their first axis. Raises what it raises."""
        if self.remark:
            return compute(*inputs)
        try:
            return self._run(compute, inputs)
        except (torch.OutOfMemoryError, MemoryError):
            if self._replay is None:
                raise
            self._drop()
        return compute(*inputs)  # in the memory of the recording, which the error has no more hold of

    def _run(self, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        shapes = tuple((one.shape, one.dtype, one.device) for one in inputs)
        if self._replay is not None and self._replay.shapes == shapes:
            return self._replay_or_compute(self._replay, compute, inputs)
        if self._replay is None and shapes in self._seen:
            return self._record(compute, inputs, shapes)
        self._seen.add(shapes)
        return compute(*inputs)

    def _replay_or_compute(self, replay: _Replay, compute: Compute, inputs: Sequence[Tensor]) -> Tensor:
        try:
            return replay.run(inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of a driver, a library or Torch's compiler
            self._give_up(f"one could not be launched anew ({quote_message(error)})")
            return compute(*inputs)

    def _record(self, compute: Compute, inputs: Sequence[Tensor], shapes: _Shapes) -> Tensor:
        with hold_taps() as held:
            expected = self._recorder.warm_up(lambda: compute(*inputs))
        try:
            buffers = [one.detach().clone() for one in inputs]
            replay = _Replay(shapes, buffers, self._recorder.record(lambda: compute(*buffers)), held)
            gap = _measure_distance(replay.run(inputs), expected)
        except Exception as error:  # of a driver, a library or Torch's compiler
            self._give_up(f"a pass can't be recorded ({quote_message(error)})")
            return expected
        if gap <= MOST_DISTANCE:
            self._replay = replay
        else:
            self._give_up(f"the result of the first one differs by {gap:.2g} of its length, and {MOST_DISTANCE:.2g} is allowed")
        return expected

    def _give_up(self, why: str) -> None:
        self._drop()
        self.remark = f"its gradients are computed without CUDA graphs: {why}."

    def _drop(self) -> None:
        self._replay = None
        self._seen.clear()


def _measure_distance(found: Tensor, expected: Tensor) -> float:
    """The largest distance of an image's results, in lengths of the expected one; infinite where one is not finite."""
    if found.shape != expected.shape:
        return math.inf
    first, second = (one.reshape(len(one), -1).double() for one in (found, expected))
    gaps, lengths = (first - second).norm(dim=1), second.norm(dim=1)
    shares = torch.where(gaps == 0, gaps, gaps / lengths)  # two results of zero are equal
    return float(shares.nan_to_num(nan=math.inf).max())
