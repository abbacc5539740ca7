"""A network that its framework has loaded, and the routes by which it can be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.config import ModelOptions

Array = NDArray[Any]
#: A function of the opset, and whether the batch shall be open, that returns the exported model.
Export = Callable[[int, bool], onnx.ModelProto]


@dataclass(frozen=True)
class Route:
    """A way to export: its name, its function, the opsets that it supports, and the best of them."""

    name: str
    export: Export
    opsets: range
    best: int


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, ready to run and to be exported.

    `framework` is its name, `packages` are distributions whose versions are recorded. `shape` is that of one image in the order
    of the input's axes, without the batch. `forward` takes a batch of images as `dtype` and returns all outputs in the order
    of the exported file; `outputs` are their names, where they have some. `routes` are tried in their order. `said` are the
    preprocessing options that the framework states. `layers` yields names and outputs of the framework's layers for a batch, in
    the order of execution. `batch` is the only batch size that the network takes, None where it takes any. `constants` are values
    of inputs that an exporter leaves in the file although they are stored. `sha256` is the source's checksum, `remarks` are
    warnings, `tolerance` is the largest relative difference of outputs that passes.
    """

    framework: str
    packages: Sequence[str]
    shape: tuple[int, ...]
    forward: Callable[[Array], Sequence[Array]]
    routes: Sequence[Route]
    said: ModelOptions = field(default_factory=ModelOptions)
    outputs: Sequence[str] = ()
    layers: Callable[[Array], Iterator[tuple[str, Array]]] | None = None
    batch: int | None = None
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.float32))
    constants: Mapping[str, Array] = field(default_factory=dict)
    sha256: str | None = None
    remarks: tuple[str, ...] = ()
    tolerance: float = 1e-5
