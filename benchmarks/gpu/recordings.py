"""Passes that are recorded: on a GPU as CUDA graphs; on a CPU by a stand-in, whose speed says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

import onnxspace as ox
from benchmarks.gpu.bench import Bench, Row, large, maps_of, trained
from onnxspace.attribution.cuda_graphs import CudaRecorder, Recorder
from onnxspace.attribution.devices import configure_torch
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.precision import worst_cosine
from onnxspace.attribution.recorded_pass import LEAST_COSINE, RecordedPass
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method
from tests.helpers.tape import TapeRecorder

METHODS: tuple[Method, ...] = ("elrp", "saliency", "smoothgrad")


def compare_recordings(bench: Bench) -> Iterator[Row]:
    """Maps with recordings and without, of whole batches and a smaller one; small batches, in which launching takes most of the time."""
    images, size = np.concatenate([ox.Probes.generate(8).images] * 4), 4
    for path in (*trained(bench)[:3], *large(bench)[:3]):
        for method in METHODS[:2] if bench.small else METHODS:
            if bench.left < 8:
                bench.skipped.append(f"recordings of {path.stem} by {method}: no time was left")
                continue
            plain = bench.explainer(path, method, Compute())
            own = _record(plain, bench.device)
            cosine = worst_cosine(*(maps_of(one, images[:-1], size) for one in (plain, own)))
            batch = plain.prepare_batch(images[:size], size)
            with configure_torch(Compute()):
                speeds = [size / bench.seconds(lambda: one.compute_maps(batch)) for one in (own, plain)]  # noqa: B023
            yield {"network": path.stem, "method": method, "cosine": cosine, "recorded, images per second": speeds[0],
                   "as usual": speeds[1], "remark": " ".join(own.remarks), "passed": cosine >= LEAST_COSINE and not own.remarks}  # fmt: skip


def _record(explainer: Explainer, device: torch.device) -> Explainer:
    recorder: Recorder = CudaRecorder(device) if device.type == "cuda" else TapeRecorder()
    return replace(explainer, network=replace(explainer.network, recorded=RecordedPass(recorder)))
