"""Is the advice of `onnxspace diff --precision int8` right? python -m benchmarks.precision [MODEL.onnx ...]

Each model (default: two of models/) is quantised by onnxruntime.quantization with nothing left in float, with the layers that the advice names, and with as
many layers drawn at random, 20 times. Prints |int8 − float| / |float| of the outputs on images that neither the advice nor the calibration used;
for the random ones the mean and the range of the middle 95 %.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

import onnxspace as ox

MODELS = ("models/shapes-torch.onnx", "models/texture-torch.onnx")
TYPES = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
WITHIN, DRAWS, IMAGES = 0.02, 20, 16
Feed = dict[str, NDArray[np.float32]]


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """Inputs for calibration, one by one."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._rows: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._rows, None)


def make_feeds(path: Path, probes: ox.Probes) -> list[Feed]:
    """The inputs of a model for each image."""
    model = ox.open_model(path)
    images = probes.images
    return [{model.image.name: model.file_input(images[i : i + 1]).astype(np.float32)} for i in range(len(images))]


def quantise(path: Path, folder: Path, feeds: Sequence[Feed], excluded: Sequence[str]) -> Path:
    """Eight bits by ONNX Runtime's tools with their defaults, without some nodes."""
    target = folder / "int8.onnx"
    quantize_static(
        path, target, Feeds(feeds), op_types_to_quantize=TYPES, nodes_to_exclude=list(excluded), activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    return target


def run(path: Path, feeds: Sequence[Feed]) -> list[NDArray[Any]]:
    """The outputs for all images, those of each output in one array."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [np.concatenate(parts) for parts in zip(*(session.run(None, feed) for feed in feeds), strict=True)]


def measure(old: Sequence[NDArray[Any]], new: Sequence[NDArray[Any]]) -> float:
    """|new − old| / |old| of the output that is furthest off."""
    return max(float(np.linalg.norm(two - one) / np.linalg.norm(one)) for one, two in zip(old, new, strict=True))


def compare(path: Path, within: float = WITHIN, draws: int = DRAWS) -> tuple[ox.PrecisionSweep, float, float, list[float]]:
    """The advice, and the errors with nothing in float, with the advice, and with random layers."""
    probes, others = (ox.Probes.generate(IMAGES, seed=seed) for seed in (0, 1))
    swept = ox.sweep_precision(path, probes=probes, keep_within=within)
    feeds, test = make_feeds(path, probes), make_feeds(path, others)
    rng, names = np.random.default_rng(0), [layer.name for layer in swept.layers]
    with tempfile.TemporaryDirectory() as folder:
        plain = run(path, test)

        def error(excluded: Sequence[str]) -> float:
            return measure(plain, run(quantise(path, Path(folder), feeds, excluded), test))

        drawn = [error(list(rng.choice(names, len(swept.keep), replace=False))) for _ in range(draws)]
        return swept, error([]), error(swept.keep), drawn


def main() -> None:
    logging.disable(logging.WARNING)
    print("| model | layers | in float | nothing in float | advised | as many at random |\n|---|---:|---:|---:|---:|---:|")
    for name in sys.argv[1:] or MODELS:
        swept, none, advised, drawn = compare(Path(name))
        low, high = np.quantile(drawn, (0.025, 0.975))
        cells = f"{100 * none:.2f} % | {100 * advised:.2f} % | {100 * np.mean(drawn):.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
        print(f"| {swept.name} | {len(swept.layers)} | {len(swept.keep)} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
