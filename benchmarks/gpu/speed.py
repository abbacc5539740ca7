"""How fast: precisions and compiled graphs, maps beside two forward passes and other libraries, and many models."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

import onnxspace as ox
from benchmarks.gpu.bench import Bench, Row, large, maps_of, trained
from benchmarks.gpu.peers import measure_peers
from onnxspace.attribution.devices import configure_torch
from onnxspace.attribution.precision import worst_cosine
from onnxspace.inputs.execution import Compute


def compare_precisions(bench: Bench) -> Iterator[Row]:
    """Each precision, and compiled: the least cosine with float32, and images per second."""
    modes = [Compute(), Compute(precision="bf16")]
    if bench.device.type == "cuda":
        modes += [
            Compute(precision="tf32"),
            Compute(precision="fp16"),
            Compute(compiled=True),
            Compute(precision="bf16", compiled=True),
        ]
    probes = ox.Probes.generate(bench.images)
    for path in (*large(bench)[:3], *trained(bench)[:1]):
        reference = None
        for compute in modes:
            if bench.left < 20:
                bench.skipped.append(f"{compute.precision} of {path.stem}: no time was left")
                continue
            explainer = bench.explainer(path, "elrp", compute)
            maps = maps_of(explainer, probes.images, bench.images)
            reference = maps if reference is None else reference
            batch = explainer.prepare_batch(probes.images)
            with configure_torch(compute):
                taken = bench.seconds(lambda: explainer.compute_maps(batch), 3)  # noqa: B023
            yield {"network": path.stem, "precision": compute.precision, "compiled": compute.compiled,
                   "cosine": worst_cosine(reference, maps), "images per second": bench.images / taken,
                   "remark": " ".join(explainer.remarks)}  # fmt: skip


def measure_speed(bench: Bench) -> Iterator[Row]:
    """Maps beside two forward passes of the same graph, captum and zennit: images per second."""
    probes = ox.Probes.generate(bench.images)
    for path in (*large(bench)[:4], *trained(bench)[:1]):
        if bench.left < 30:
            bench.skipped.append(f"speed of {path.stem}: no time was left")
            continue
        explainer = bench.explainer(path, "elrp", Compute())
        batch = explainer.prepare_batch(probes.images)
        with configure_torch(Compute()):
            maps = bench.seconds(lambda: explainer.compute_maps(batch))  # noqa: B023
            forward = bench.seconds(lambda: explainer.network.forward(batch.values))  # noqa: B023
        row = {"network": path.stem, "maps": bench.images / maps, "two forward passes": bench.images / (2 * forward),
               "ratio": maps / (2 * forward)}  # fmt: skip
        yield {**row, **measure_peers(bench, path, batch.values)}


def explain_many(bench: Bench) -> Iterator[Row]:
    """20 ResNet-50 × 1,000 images, each batch preprocessed beside the one before; in `--small`, two small networks × 32 images."""
    paths, count, models = (trained(bench)[:1], 32, 2) if bench.small else (large(bench)[:1], 1000, 20)
    images = np.concatenate([ox.Probes.generate(8).images] * (count // 8))
    for path in paths:
        begin, done = time.perf_counter(), 0
        for _ in range(models):
            if bench.left < 15:
                bench.skipped.append(f"{models - done} of {models} × {path.stem}: no time was left")
                break
            maps_of(bench.explainer(path, "elrp", Compute()), images, 64)
            done += 1
        taken = time.perf_counter() - begin
        yield {
            "network": path.stem,
            "models": done,
            "images": count,
            "seconds": taken,
            "images per second": done * count / taken,
        }
