"""CUDA graphs on a CPU: a recorder whose recordings read and write the same tensors at every replay, as those of a GPU do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onnxspace.attribution.cuda_graphs import Recording

_READS = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.masked_select.default")


class Tape(TorchDispatchMode):
    """Notes every operation with the tensors that it reads and writes. What reads a value is refused, as a stream that records does."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(func) in _READS:
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing ({func})\nmore")
        result = func(*args, **(kwargs or {}))
        self.steps.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        """Compute all of it anew, into the same tensors."""
        with torch.no_grad():
            for func, args, kwargs, kept in self.steps:
                found = func(*args, **kwargs)
                for new, old in zip(_tensors(found), _tensors(kept), strict=True):
                    if not _is_view(old, (args, kwargs)):
                        old.copy_(new)

    def forget(self) -> None:
        """Make all that was computed while recording useless, since a GPU computes nothing then."""
        with torch.no_grad():
            for _, args, kwargs, kept in self.steps:
                for old in _tensors(kept):
                    if not _is_view(old, (args, kwargs)) and old.is_floating_point():
                        old.fill_(float("nan"))


def _tensors(value: Any) -> Iterator[Tensor]:
    yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _is_view(value: Tensor, given: Any) -> bool:
    place = value.untyped_storage().data_ptr()
    return any(place == one.untyped_storage().data_ptr() for one in _tensors(given))


class TapeRecorder:
    """Records by a tape, and counts recordings and replays; `change` is applied to the result of each replay."""

    def __init__(self, change: Callable[[Tensor], object] | None = None) -> None:
        self.recorded = self.replayed = self.warmed = 0
        self.change = change

    def warm_up(self, compute: Callable[[], Tensor]) -> Tensor:
        self.warmed += 1
        return compute()

    def record(self, compute: Callable[[], Tensor]) -> Recording:
        self.recorded += 1
        with Tape() as tape:
            output = compute()
        tape.forget()
        return Recording(lambda: self._replay(tape, output), output, tape)

    def _replay(self, tape: Tape, output: Tensor) -> None:
        self.replayed += 1
        tape.replay()
        if self.change is not None:
            self.change(output)
