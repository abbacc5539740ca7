"""Attribution maps of all models on one probe set, and cosines of every two, image by image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.minitaskonomy.cache import Arrays
from models.minitaskonomy.study.map_similarity import CHANGES, Maps, compute_cosines, normalise
from models.minitaskonomy.zoo import Entry, Zoo
from onnxspace.attribution.maps import engines_for
from onnxspace.inputs.execution import Device, Execution
from onnxspace.inputs.methods import Method, Options
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.encoder import Encoder, Trunk, find_encoder
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.workflows.child.layer_choice import choose_layers
from onnxspace.workflows.child.layer_maps import explain_layers


@dataclass(frozen=True)
class MapJob:
    """Maps by `methods` from each of `baselines` (None: the method takes none), on the first `images` of a probe set.

    Methods of one job share their gradients. Cosines of changed maps (`CHANGES`) are taken on the first `changed` images, at the
    zero baseline. `explained` names another number than the sum of units, `rules` entries over the method's rule set.
    """

    name: str
    methods: tuple[Method, ...]
    baselines: tuple[str | None, ...] = (None,)
    images: int = 512
    changed: int = 0
    explained: str = "sum"
    options: Mapping[str, Any] = field(default_factory=dict)


def compare_maps(job: MapJob, zoo: Zoo, probes: Probes, device: Device) -> Arrays:
    """Cosines of a job, by a variant's words: float32 [images, pairs], pairs being the upper triangle of models × models."""
    known: list[dict[bytes, torch.Tensor]] = [{} for _ in zoo.entries]
    probes = Probes(probes.name, np.ascontiguousarray(probes.images[: job.images]))
    found: Arrays = {}
    for method in job.methods:
        for baseline in job.baselines:
            maps = compute_maps(job, zoo, probes, device, method, baseline, known)
            words = " ".join([method, *_describe(job), *([] if baseline is None else [f"from {baseline}"])])
            found[words] = compute_cosines(maps)
            if job.changed and baseline in (None, "zero"):
                some = maps[: job.changed]
                found |= {f"{words}, {name}": compute_cosines(change(some)) for name, change in CHANGES.items()}
    return found


def _describe(job: MapJob) -> list[str]:
    told = [f"{key} {value}" for key, value in dict(job.options.get("rules", {})).items()]
    return [*([] if job.explained == "sum" else [f"of {job.explained}"]), *told]


def compute_maps(
    job: MapJob, zoo: Zoo, probes: Probes, device: Device, method: Method, baseline: str | None,
    known: Sequence[dict[bytes, torch.Tensor]] = (),
) -> Maps:  # fmt: skip
    """float32 [images, models, pixels]; `known` holds each model's gradients for other methods of the same rules."""
    known = known or [{} for _ in zoo.entries]
    options = Options(**job.options) if baseline is None else Options(baseline=baseline, **job.options)
    maps = np.empty((len(probes), len(zoo.entries), probes.size**2), np.float32)
    for place, entry in enumerate(zoo.entries):
        model, converted = zoo.converted(entry, probes, job.explained)
        start = 0
        engines = engines_for(model, converted, Setup(probes, method, options), Execution.on(device), known[place])
        for found in engines.maps():
            batch = found.maps
            maps[start : start + len(batch), place] = batch.reshape(len(batch), -1)
            start += len(batch)
    return maps


def compare_layers(zoo: Zoo, probes: Probes, device: Device) -> Arrays:
    """Gradient × input at every cut point of the main models up to the encoder, and at the output.

    `layer k` holds cosines of the main models at the same depth, `output` those of all models' outputs, and `encoder to output`
    float32 [images, targets, models] compares a target's output with every model's encoder.
    """
    per_model = [_compute_layers(zoo, entry, probes, device) for entry in zoo.entries]
    depth = min(len(one) for one, entry in zip(per_model, zoo.entries, strict=True) if entry.main)
    main = [one for one, entry in zip(per_model, zoo.entries, strict=True) if entry.main]
    found = {f"layer {k}": compute_cosines(np.stack([one[k] for one in main], axis=1)) for k in range(depth - 1)}
    outputs = np.stack([one[-1] for one in per_model], axis=1)
    encoders = compute_maps(MapJob("", ("gradient-x-input",)), zoo, probes, device, "gradient-x-input", None)
    found["output"] = compute_cosines(outputs)
    across = normalise(outputs[:, zoo.main]) @ normalise(encoders).transpose(0, 2, 1)
    return {**found, "encoder to output": across.astype(np.float32)}


def _compute_layers(zoo: Zoo, entry: Entry, probes: Probes, device: Device) -> list[Maps]:
    """Maps [images, pixels] of each cut point up to the encoder, and of the output; of other architectures the output alone."""
    model, _ = zoo.open(entry)
    trunk = Trunk(model)
    own = find_encoder(model, trunk)
    below = model.graph.ancestors_of(own.tensors)
    layers = choose_layers(trunk, own).layers if entry.main else ()
    tensors = [one.tensor for one in layers if model.graph.producer[one.tensor] in below] + list(model.graph.outputs)[:1]
    converted = convert(model, probes.images[:2], Encoder(tuple(tensors), "layers to be compared"))
    engine = engines_for(model, converted, Setup(probes, "gradient-x-input"), Execution.on(device)).explainers[0]
    batches = [[seen.maps for seen in explain_layers(engine, images)] for images in _iterate_batches(probes)]
    return [np.concatenate(parts).reshape(len(probes), -1) for parts in zip(*batches, strict=True)]


def _iterate_batches(probes: Probes, size: int = 32) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(probes), size):
        yield probes.images[start : start + size]
