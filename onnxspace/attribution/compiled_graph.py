"""A graph that Torch compiles, and that runs as it is where Torch can't compile it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

from onnxspace.torchgraph.operators.interpolation import mark_constants

#: Arguments of `torch.compile`. Batches have one size but for the last, so that a graph of its size is compiled, not one for any.
COMPILER: dict[str, Any] = {"dynamic": False}


class CompiledGraph:
    """Called with the input of `graph`, it returns what that returns; `remark` says that and why it is not compiled, else it is empty.

    The compiler runs in the first call. Where it lacks a tool or an operator, the graph is called from then on.
    """

    def __init__(self, graph: GraphModule) -> None:
        mark_constants()
        self.graph, self.remark = graph, ""
        self._compiled: Callable[[Tensor], Any] = torch.compile(graph, **COMPILER)

    def __call__(self, values: Tensor) -> Any:
        if self.remark:
            return self.graph(values)
        try:
            return self._compiled(values)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # of the compiler, its tools or the driver
            found = self.graph(values)  # which raises where it is the graph that fails
            lines = str(error).strip().splitlines() or [type(error).__name__]
            why = " ".join(lines[:2])[:200].rstrip(". ")  # the first may name the part of the compiler alone
            self.remark = f"its network is not compiled: Torch's compiler fails ({why})."
            return found
