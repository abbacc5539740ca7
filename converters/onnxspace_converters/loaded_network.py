"""What a converter knows of a network once its framework has loaded it, and the ways it could be exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.inputs.config import ModelOptions

Array = NDArray[Any]
#: A function of opset and whether the batch is to be open, that gives the exported model.
Export = Callable[[int, bool], onnx.ModelProto]


@dataclass(frozen=True)
class Route:
    """One exporter's way: what it is called, the opsets that are right with it, and the best of them."""

    name: str
    export: Export
    opsets: range
    best: int


@dataclass(frozen=True)
class LoadedNetwork:
    """A network, ready to run and to be exported.

    `shape` is that of one image in the order of its input, without the batch. `forward` takes a batch of images as `dtype`
    and gives every output in the order of the exported file; where outputs have names, `outputs` holds them. `layers` gives
    the outputs of the framework's layers for a batch, in the order of execution. `batch` is the only batch that the network
    takes, None where it takes any. `constants` are values of inputs that an exporter leaves in the file although they are
    stored. `said` is what the framework knows of its images. `packages` are distributions whose versions are kept.
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
