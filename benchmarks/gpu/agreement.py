"""Whether the device computes what the CPU does: maps, twice the same, in batches that fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

import onnxspace as ox
from benchmarks.gpu.bench import Bench, Row, large, maps_of, trained
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.precision import worst_cosine
from onnxspace.attribution.recorded_pass import LEAST_COSINE
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method

METHODS: tuple[Method, ...] = ("elrp", "saliency", "attnlrp", "lrp-composite", "smoothgrad")


def compare_devices(bench: Bench) -> Iterator[Row]:
    """Maps of the CPU and of the device in float32: the least cosine, at least .9999."""
    probes = ox.Probes.generate(2 if bench.small else 4)
    for path in (*trained(bench), *large(bench)):
        for method in METHODS[:2] if bench.small else METHODS:
            pair = [
                maps_of(bench.explainer(path, method, Compute(), place), probes.images, 4)
                for place in (torch.device("cpu"), bench.device)
            ]
            cosine = worst_cosine(*pair)
            yield {"network": path.stem, "method": method, "cosine": cosine, "passed": cosine >= LEAST_COSINE}


def check_determinism(bench: Bench) -> Iterator[Row]:
    """The same maps twice: bit for bit with `--deterministic`, and their cosine without."""
    probes = ox.Probes.generate(bench.images)
    for path in (*trained(bench)[:1], *large(bench)[:2]):
        for strict in (True, False):
            compute = Compute(deterministic=strict)
            first, second = (maps_of(bench.explainer(path, "elrp", compute), probes.images, 16) for _ in range(2))
            same = bool((first == second).all())
            yield {"network": path.stem, "deterministic": strict, "same bits": same, "passed": same or not strict}


def halve_batches(bench: Bench) -> Iterator[Row]:
    """Maps of a batch that does not fit: halved until it does, with the same result."""
    path, count = trained(bench)[0], 16 if bench.small else 256
    images = np.concatenate([ox.Probes.generate(8).images] * (count // 8))
    explainer = bench.explainer(path, "elrp", Compute())
    expected = maps_of(explainer, images, 8)
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(bench.device).total_memory
        room = torch.cuda.memory_allocated(bench.device) + bench.open(path)[1].bytes_per_image * 24
        torch.cuda.set_per_process_memory_fraction(min(1.0, room / total), bench.device)
    try:
        with _refusing(explainer, 8 if bench.device.type == "cpu" else None) as sizes:
            found = maps_of(explainer, images, count)
    finally:
        if bench.device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    cosine = worst_cosine(expected, found)
    halved = min(sizes) < count
    yield {"network": path.stem, "batch": count, "smallest": min(sizes), "cosine": cosine,
           "passed": halved and cosine >= LEAST_COSINE}  # fmt: skip


class _refusing:  # noqa: N801
    """Notes the sizes of batches; on a CPU, refuses those above `most` as a full GPU does."""

    def __init__(self, explainer: Explainer, most: int | None) -> None:
        self.kind, self.most, self.sizes = type(explainer), most, list[int]()

    def __enter__(self) -> list[int]:
        self.genuine = self.kind.compute_maps

        def compute(explainer: Explainer, batch: Any) -> Any:
            self.sizes.append(len(batch.values))
            if self.most is not None and len(batch.values) > self.most:
                raise torch.OutOfMemoryError("out of memory")
            return self.genuine(explainer, batch)

        self.kind.compute_maps = compute  # type: ignore[method-assign]
        return self.sizes

    def __exit__(self, *_: object) -> None:
        self.kind.compute_maps = self.genuine  # type: ignore[method-assign]
