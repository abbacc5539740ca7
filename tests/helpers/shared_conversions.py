"""Conversions that tests share: most tests of commands take the same few small networks, and convert them in the same way.

Where a test has a worker's tasks run in its own process (`tests/helpers/direct.py`), or calls a function that converts, a model is
converted once for all of them. Tests of the conversion, which call `convert` and `to_torch`, and those of worker processes convert
each time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxspace.model.encoder import Encoder
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

#: Packages whose modules convert.
_USERS = ("onnxspace.attribution.", "onnxspace.checking.", "onnxspace.differences.", "onnxspace.workflows.")
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
    """Within the block, what converts takes a conversion that there is; where a test has put its own function, that one remains."""
    with pytest.MonkeyPatch.context() as patch:
        for module in _list_users(len(sys.modules)):
            if vars(module).get("convert") is convert:
                patch.setattr(module, "convert", convert_once)
        yield


@lru_cache(1)
def _list_users(loaded: int) -> list[ModuleType]:
    """The modules that may convert, of those that are loaded now, so many."""
    found = [module for name, module in sys.modules.items() if name.startswith(_USERS)]
    return [module for module in found if hasattr(module, "convert")]
