"""Networks of TensorFlow in files of each kind, and whether a converted file agrees with a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxspace.exporters import Request
from onnxspace.model import runtime

SHAPE = (16, 16, 3)
Images = NDArray[np.float32]


def agree(path: Path, forward: Callable[[Images], Any], shape: tuple[int, ...] = SHAPE, most: float = 1e-5) -> None:
    """Outputs within 1e-5 of the largest value at two sizes of batch, where the file takes any."""
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == ["image"]
    fixed = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
    for batch in (1,) if fixed else (1, 5):
        x = np.random.default_rng(batch).standard_normal((batch, *shape)).astype(np.float32)
        expected = np.asarray(forward(x))
        found = np.asarray(runtime.run(model, {"image": x})[0])
        assert np.abs(found - expected).max() <= most * np.abs(expected).max()


def keras_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.save(folder / "net.keras")
    return str(folder / "net.keras"), Request(encoder="features")


def h5_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.save(folder / "net.h5")
    return str(folder / "net.h5"), Request(encoder="features")


def saved_model(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    model.export(folder / "net", verbose=False)
    return str(folder / "net"), Request()


def frozen_graph(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    return str(keras.graph(model, folder / "net.pb")), Request()


def lite_file(keras: Any, model: Any, folder: Path) -> tuple[str, Request]:
    return str(keras.lite(model, folder / "net.tflite")), Request()
