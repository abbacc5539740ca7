"""Where a converted graph and ONNX Runtime part: the first node whose values differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace import runtime
from onnxspace.convert.build import build
from onnxspace.convert.verify import difference
from onnxspace.graph import label
from onnxspace.network import Network


def first_departure(part: Network, normal: Network, feed: Mapping[str, NDArray[Any]], allowed: float) -> str | None:
    """The first node of `part`, in order, whose output differs from its converted counterpart in `normal`, by its name.

    None where that can't be told: every tensor that both graphs know agrees, or one of them can't be run.
    """
    kept = {name for node in normal.graph.nodes for name in node.output}
    made = [(node, name) for node in part.graph.nodes for name in node.output if name in kept]
    names = [name for _, name in made]
    try:
        expected = runtime.run(part.with_outputs(names), feed)
        graph = build(normal.with_outputs(names), "the model")
        with torch.no_grad():
            values = [torch.from_numpy(np.asarray(v, np.float32) if v.dtype.kind == "f" else v) for v in feed.values()]
            found = graph(*values)
    except Exception:  # the search is a help for a message: where it fails, the message does without
        return None
    listed = list(found) if isinstance(found, (tuple, list)) else [found]
    for (node, _), ours, theirs in zip(made, listed, expected, strict=True):
        if isinstance(ours, torch.Tensor) and difference([ours.numpy()], [theirs]) > allowed:
            return label(node)
    return None
