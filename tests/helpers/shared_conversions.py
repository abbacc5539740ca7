"""Conversions that tests share: most tests of commands take the same few small networks, and convert them in the same way.

Where a test has a worker's tasks run in its own process (`tests/helpers/direct.py`, `tests/checking/conftest.py`), a model is
converted once for all of them. Tests of the conversion, and those of worker processes, convert each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

#: Modules that convert for a worker's tasks.
_MODULES = (
    "onnxspace.attribution.gradient_fields",
    "onnxspace.attribution.maps",
    "onnxspace.workflows.child.explain",
    "onnxspace.workflows.child.layers",
    "onnxspace.workflows.child.representations",
)
_MOST_WEIGHTS = 2**22  # bytes of a graph that is kept
_MOST = 500  # graphs that are kept
_kept: dict[tuple[object, ...], EncoderGraph] = {}


def convert_once(model: Model, images: NDArray[np.uint8], encoder: Encoder | None = None) -> EncoderGraph:
    """In the place of `convert`, whose result depends on what the model computes, not on where its file is."""
    key = (*model.identity, model.input_shape, encoder, images.shape, images.tobytes())
    if (kept := _kept.get(key)) is not None:
        return kept
    converted = convert(model, images, encoder)
    if len(_kept) < _MOST and _count_bytes(converted) <= _MOST_WEIGHTS:
        _kept[key] = converted
    return converted


def _count_bytes(converted: EncoderGraph) -> int:
    return sum(value.nbytes for value in converted.graph.state_dict().values())


@contextmanager
def sharing_conversions() -> Iterator[None]:
    """Within the block, tasks take a conversion that there is; where a test has put its own function, that one remains."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _MODULES:
            if getattr(module := sys.modules.get(name), "convert", None) is convert:
                patch.setattr(module, "convert", convert_once)
        yield
