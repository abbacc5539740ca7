"""A device without data in the place of a GPU: what would wait for one, copy to it, or mix it with the CPU, by operator.

On Torch's `meta` device, reading a value raises. `DeviceWatch` also notes what a GPU would do slowly, or not within a CUDA graph: a
tensor that is made from numbers of the host, or copied from there or to there. It counts those copies by the function that makes them,
so that one in a loop is found: its number grows with the length of the loop.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from onnxspace.torchgraph.view import operator_from_name

Found = set[tuple[str, str]]
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_MADE = ("tensor", "as_tensor", "from_numpy", "new_tensor", "asarray")


class _Dispatched(TorchDispatchMode):
    """Notes operations on tensors of the host and of the device together, in the gradient too."""

    def __init__(self, watch: DeviceWatch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kinds = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        goal = str((kwargs or {}).get("device", ""))
        if (
            func is _COPIES[0] and goal == "cpu" and kinds == {"meta"} and not self.watch.running
        ):  # an operator's values are missing
            self.watch.count("copies to the host")
            return torch.zeros(args[0].shape, dtype=(kwargs or {}).get("dtype") or args[0].dtype)
        if (func in _COPIES and goal == "meta" and kinds == {"cpu"}) or (func is _COPIES[1] and len(kinds) > 1):
            self.watch.count("copies from the host")
        elif len(kinds) > 1:
            self.watch.note(f"mixes devices ({func})")
        return func(*args, **(kwargs or {}))


class _Called(TorchFunctionMode):
    """Notes tensors that are made from numbers of the host on the device."""

    def __init__(self, watch: DeviceWatch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in _MADE and isinstance(result, torch.Tensor) and result.device.type == "meta":
            self.watch.count("copies from the host")
        return result


class DeviceWatch:
    """Runs graphs on the `meta` device, and notes in `found` what would not run on a GPU alone: the operator, and what it does.

    `copies` counts copies from the host and to it, by what they are and the function of onnxspace that makes them.
    """

    def __init__(self) -> None:
        self.found: Found = set()
        self.copies: Counter[str] = Counter()
        self._operators: list[str] = []

    def note(self, what: str) -> None:
        self.found.add((self._operators[-1] if self._operators else "", what))

    def count(self, what: str) -> None:
        """Note a copy, with the function that makes it."""
        self.note(what)
        self.copies[f"{_name_caller()} {what}"] += 1

    @contextmanager
    def of(self, graph: nn.Module) -> Iterator[None]:
        """Watch what is computed in the block, and know the operators of `graph`."""
        hooks = [hook for name, module in graph.named_children() for hook in self._hooks(name, module)]
        try:
            with _Called(self), _Dispatched(self):
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hooks(self, name: str, module: nn.Module) -> list[Any]:
        return [
            module.register_forward_pre_hook(lambda _module, _args: self._operators.append(operator_from_name(name))),
            module.register_forward_hook(lambda _module, _args, _out: self._leave()),
        ]

    def _leave(self) -> None:
        self._operators.pop()

    @property
    def running(self) -> str:
        """The operator that was running when the graph stopped."""
        return self._operators[-1] if self._operators else ""


def _name_caller() -> str:
    """The innermost function of onnxspace that is running, as module.function."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("onnxspace."):
            return f"{module.rsplit('.', 1)[1]}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


def list_waits(graph: GraphModule, *inputs: Any) -> Found:
    """Run a graph that is on the `meta` device forward, and return what would wait for a GPU: at most the first that stops it."""
    watch = DeviceWatch()
    try:
        with watch.of(graph), torch.no_grad():
            graph(*inputs)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        if not reads_values(error):
            raise
        watch.found.add((watch.running, "reads values"))
    return watch.found


def reads_values(error: Exception) -> bool:
    """Whether an error says that a value of a tensor without data was needed."""
    words = (
        "Tensor.item()", "Cannot copy out of meta tensor", "meta tensor", "Meta tensors", "nonzero", "aten::_local_scalar_dense",
        "data-dependent", "aten::unique", "aten::_unique", "meta device", "'Meta' backend", "is not allowed on meta", "numpy",
    )  # fmt: skip
    return any(word in str(error) for word in words)
