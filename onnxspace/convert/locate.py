"""Where a converted graph and ONNX Runtime part: the first node whose values differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnxspace import runtime
from onnxspace.convert.build import build
from onnxspace.convert.verify import difference, is_quantised
from onnxspace.graph import Graph, label


def first_departure(
    part: onnx.ModelProto, normal: onnx.ModelProto, feed: Mapping[str, NDArray[Any]], allowed: float
) -> str | None:
    """The first node of `part`, in order, whose output differs from its converted counterpart in `normal`, by its name.

    None where that can't be told: every tensor that both graphs know agrees, or one of them can't be run.
    """
    kept = {name for node in normal.graph.node for name in node.output}
    made = [(node, name) for node in Graph(part).nodes for name in node.output if name in kept]
    try:
        expected = runtime.run(_with_outputs(part, made), feed, optimise=not is_quantised(part))
        graph = build(_with_outputs(normal, made), "the model")
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


def _with_outputs(model: onnx.ModelProto, made: list[tuple[onnx.NodeProto, str]]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for _, name in made)
    return copy
