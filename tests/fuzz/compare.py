"""`python -m tests.fuzz.compare FILE`: whether `to_torch` gives what ONNX Runtime makes of the file's bytes.

Prints `same`, `refused` with the sentence, or `differs` with the difference; anything else is a defect.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np


def main(path: str) -> str:
    import onnxspace as ox
    from onnxspace.errors import OnnxspaceError

    warnings.simplefilter("ignore")
    try:
        graph = ox.to_torch(path)
    except OnnxspaceError as error:
        return f"refused: {error}"
    return _compare(graph, path)


def _compare(graph: Any, path: str) -> str:
    import onnxruntime
    import torch

    from onnxspace.model.feeds import generate_feeds
    from onnxspace.model.image_input import dims
    from onnxspace.model.reader import read_model
    from onnxspace.torchgraph.verify import COARSE, difference
    from onnxspace.torchgraph.whole_model import as_input, to_arrays

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(Path(path).read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception:  # the runtime refuses the file, and the standard's reference decided
        return "same: by the reference"
    inputs = read_model(path)[0].graph
    shapes = {value.name: tuple(sizes) for value in inputs.inputs if (sizes := dims(value)) is not None}
    for feed in generate_feeds(inputs, shapes):
        try:
            expected = session.run(None, feed)
        except Exception:  # it takes no such sizes
            continue
        with torch.no_grad():
            found = graph(*[as_input(value) for value in feed.values()])
        gap = difference(to_arrays(list(found) if isinstance(found, tuple) else [found]), to_arrays(list(expected)))
        return f"same: {gap:.2g}" if gap <= COARSE or not all(map(_is_finite, expected)) else f"differs: {gap:.2g}"
    return "same: it takes no input"


def _is_finite(values: Any) -> bool:
    array = np.asarray(values)
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


if __name__ == "__main__":
    print(main(sys.argv[1]))
