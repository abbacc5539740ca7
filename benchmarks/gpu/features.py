"""Features by Torch's graph on the device, by ONNX Runtime there where it can, and by ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import onnxspace as ox
from benchmarks.gpu.bench import Bench, Row, large, trained
from onnxspace.attribution.torch_runner import TorchRunner
from onnxspace.inputs.execution import Compute
from onnxspace.model.features import GraphRunner, write_features
from onnxspace.model.providers import Provider, find_fault
from onnxspace.torchgraph.verify import TOLERANCE


def compare_features(bench: Bench) -> Iterator[Row]:
    """The largest difference from ONNX Runtime on the CPU, relative to its largest value, and images per second."""
    images = np.concatenate([ox.Probes.generate(8).images] * (bench.images // 8))
    fault = find_fault() if bench.device.type == "cuda" else "no GPU is used"
    for path in (*trained(bench), *large(bench)[:3]):
        if bench.left < 8:
            bench.skipped.append(f"features of {path.stem}: no time was left")
            continue
        model, converted = bench.open(path)
        torch_runner = TorchRunner(model, converted.encoder, images, Compute(), bench.device)
        ways: dict[str, Provider | GraphRunner] = {"Torch": torch_runner, **({} if fault else {"CUDA": "cuda"})}
        expected, speed = _measure(bench, path, images, "cpu")
        row: Row = {"network": path.stem, "images per second on the CPU": speed}
        gaps = []
        for name, provider in ways.items():
            found, row[f"by {name}"] = _measure(bench, path, images, provider)
            gaps.append(float(np.abs(found - expected).max() / np.abs(expected).max()))
            row[f"difference of {name}"] = gaps[-1]
        yield {**row, "ONNX Runtime on a GPU": fault or "yes", "passed": max(gaps) <= TOLERANCE["float32"]}


def _measure(
    bench: Bench, path: Path, images: NDArray[np.uint8], provider: Provider | GraphRunner
) -> tuple[NDArray[np.float32], float]:
    """Features, and images per second after a first run that does not count."""
    model, converted = bench.open(path)
    for _ in range(2):
        begin = time.perf_counter()
        found = write_features(model, converted.encoder, images, bench.folder / "features.npy", "fit", provider=provider)
        taken = time.perf_counter() - begin
    return np.array(found.values), len(images) / taken
