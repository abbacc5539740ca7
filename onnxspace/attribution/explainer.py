"""A converted model that explains batches of images by one method on one device."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onnxspace.attribution.activation_maps import GRID_WAYS
from onnxspace.attribution.answers import View, find_answers
from onnxspace.attribution.baselines import Pixels, baseline_for
from onnxspace.attribution.compiled_graph import CompiledGraph
from onnxspace.attribution.cpu_tuning import tune_graph
from onnxspace.attribution.cuda_graphs import CudaRecorder
from onnxspace.attribution.devices import autocast_for
from onnxspace.attribution.gradients import WAYS, Batch, DifferentiableGraph, InputMaps
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.attribution.grouped_forward import GroupedForward
from onnxspace.attribution.lrp import RuleSet, apply_rules, find_rule_set
from onnxspace.attribution.noise import seeds_of
from onnxspace.attribution.noise_samples import NoiseSamples
from onnxspace.attribution.recorded_pass import RecordedPass
from onnxspace.attribution.subject import Subject
from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import METHODS, Method, Options, Settings, configure_options, resolve_settings
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.rule_names import Rules
from onnxspace.model.image_groups import fill_group
from onnxspace.model.model import Model
from onnxspace.torchgraph.encoder_graph import EncoderGraph

#: The ways whose passes are a gradient of a batch, which can be recorded.
RECORDED_WAYS = ("product", "absolute", "line", "noise")


@dataclass(frozen=True)
class Maps:
    """Maps of a batch: `maps` float32 [images, size, size] at the probe images' size.

    `errors` are relative standard errors, float64 [images], where maps are estimates: the norm of a map's standard errors divided by
    the norm of the map. `captions` say of each image what a target is in it, such as a class with its probability; empty without one.
    """

    maps: NDArray[np.float32]
    errors: NDArray[np.float64] | None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explainer:
    """A converted model that explains batches on one device by one method.

    `baseline` maps images to baselines (None: zero); `rows` [size, height] and `columns` [size, width] resize maps to the probe
    images; `fallback` counts, by operator, those that have no rule of the method and keep their gradient. Of images that are no
    multiple of `images_at_once`, the last ones are repeated and their repetitions dropped. `subject` is what is explained. With
    `resizes` False, maps keep the size of the network's input. `weigh` returns the weights of the outputs' values for images, uint8
    [images, size, size, bands], where they are not chosen by the network's own outputs.
    """

    network: DifferentiableGraph
    compute: Compute
    preprocess: Preprocess
    method: Method
    settings: Settings
    baseline: Callable[[Pixels], Pixels] | None
    device: torch.device
    rows: Tensor
    columns: Tensor
    fallback: Mapping[str, int]
    images_at_once: int = 1
    subject: Subject | None = None
    resizes: bool = True
    weigh: Callable[[NDArray[np.uint8]], Sequence[Tensor]] | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """That and why the graph is not compiled, or passes are not recorded, where `compute` says so; without the model's name."""
        graph = self.network.graph.graph if isinstance(self.network.graph, GroupedForward) else self.network.graph
        plain = graph.remark if isinstance(graph, CompiledGraph) else ""
        return tuple(remark for remark in (plain, self._describe_recording()) if remark)

    def _describe_recording(self) -> str:
        if self.compute.compiled and self.device.type == "cuda" and METHODS[self.method].way not in RECORDED_WAYS:
            return f"its gradients are computed without CUDA graphs, which --compile has for other methods than {self.method}."
        return "" if self.network.recorded is None else self.network.recorded.remark

    def to_probe_pixels(self, found: InputMaps) -> Maps:
        """Resize maps from the network's input size to the probe images."""
        maps = found.maps.float()
        resized: NDArray[np.float32] = (self.rows @ maps @ self.columns.T if self.resizes else maps).cpu().numpy()
        return Maps(resized, None if found.errors is None else found.errors.cpu().numpy(), found.captions)

    def compute_maps(self, batch: Batch) -> InputMaps:
        """Compute maps at the network's input size."""
        with autocast_for(self.compute, self.device):
            aimed, captions = self.aim_batch(batch)
            found = self._compute(aimed)
        errors = None if found.errors is None else found.errors[: batch.images]
        return InputMaps(found.maps[: batch.images], errors, captions[: batch.images])

    def _compute(self, batch: Batch) -> InputMaps:
        way, grid = METHODS[self.method].way, None if self.subject is None else self.subject.grid
        if grid is not None:
            return GRID_WAYS[way](self.network, batch, self.settings, grid, way)
        return WAYS[way](self.network, batch, self.settings)

    def aim_batch(self, batch: Batch) -> tuple[Batch, tuple[str, ...]]:
        """Return the batch with the weights of what a target explains, and its captions."""
        if self.subject is None or self.subject.aim is None or batch.weights is not None:
            return batch, ()
        aim = self.subject.aim
        outputs = self.network.forward(batch.values)[: len(aim.tensors)]
        found = find_answers(aim, outputs, len(batch.values), View(self.network.path, self.rows, self.columns))
        return replace(batch, weights=found.weights), found.captions

    def prepare_batch(self, images: NDArray[np.uint8], room: int = 1) -> Batch:
        """Preprocess `images`, uint8 [images, size, size, 3], on the device; `room` as in `Batch`."""
        filled = fill_group(images, self.images_at_once)
        baseline = None if self.baseline is None else self._to_tensor(self.preprocess(self.baseline(filled)))
        seeds = seeds_of(filled) if METHODS[self.method].way in ("noise", "units") else []
        values = self.preprocess(filled)
        key = b"" if self.network.cache is None else hashlib.sha256(values.tobytes()).digest()
        weights = None if self.weigh is None else tuple(one.to(self.device) for one in self.weigh(filled))
        noise = NoiseSamples(self.preprocess, seeds, self.device)
        return Batch(self._to_tensor(values), baseline, seeds, noise, room, len(images), weights, key)

    def _to_tensor(self, values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(self.device)


def make_explainer(
    model: Model,
    converted: EncoderGraph,
    setup: Setup,
    device: torch.device,
    compute: Compute | None = None,
    gradients: dict[bytes, Tensor] | None = None,
    subject: Subject | None = None,
) -> Explainer:
    """Prepare a verified graph of `model` for explaining on `device`: the method's rules, its baseline, and the size of maps.

    `gradients` is a cache of gradients shared by methods with the same rules and subject (None: no cache); `subject` is what is
    explained (None: the graph's encoder). Raises ConfigError for a baseline
    where the method's rules take none, and ProbeError for one that can't be read.
    """
    method, probes, settings = setup.method, setup.probes, setup.settings
    graph, relevance, fallback = converted.graph, False, {}
    if (rules := rules_for(method, settings)) is not None:
        ruled = apply_rules(graph, rules, _pixel_bounds(model.preprocess))
        graph, relevance, fallback = ruled.graph, ruled.relevance, dict(ruled.fallback)
    if relevance and settings.baseline != "zero":
        raise ConfigError(f"--baseline is not used by {method}, whose rule for the image needs none. Leave it out.")
    rows, columns = (torch.from_numpy(m).to(device, torch.float32) for m in model.preprocess.inverse(probes.size))
    ready = tune_graph(graph) if device.type == "cpu" else copy_graph(tune_graph(graph)).to(device)
    compute = compute or Compute()
    watched = subject is not None and subject.grid is not None  # a compiled graph returns tensors that nothing depends on
    compiled = CompiledGraph(ready) if compute.compiled and not watched else ready
    forward = compiled if model.group is None else GroupedForward(compiled, model.group, converted.image_axes)
    deviating = tuple(name in converted.encoder.deviations for name in converted.encoder.tensors)
    channel_axis = 1 if model.preprocess.layout == "NCHW" else 3
    recorded = RecordedPass(CudaRecorder(device)) if _records(compute, device, method) else None
    network = DifferentiableGraph(model.path, forward, channel_axis, relevance, gradients, deviating, recorded)
    baseline = baseline_for(settings.baseline, probes)
    return Explainer(
        network,
        compute,
        model.preprocess,
        method,
        settings,
        baseline,
        device,
        rows,
        columns,
        fallback,
        model.images_at_once,
        subject,
    )


def _records(compute: Compute, device: torch.device, method: Method) -> bool:
    """Whether passes are recorded as CUDA graphs."""
    return compute.compiled and device.type == "cuda" and METHODS[method].way in RECORDED_WAYS


def rules_for(method: Method, settings: Settings) -> RuleSet | None:
    """Return the rule set of a method with the entries of `settings` (None: no rules). Raises ConfigError for invalid entries."""
    name = METHODS[method].rules
    return None if name is None else find_rule_set(name, settings.rules)


def check_options(methods: Sequence[Method], options: Options | None, probes: Probes, rules: Rules) -> None:
    """Check options, rules and baselines of `methods` before any work is done.

    `rules` are a configuration's entries by rule set. Raises ConfigError, and ProbeError for an unreadable baseline.
    """
    resolve_settings(methods, options)
    for method in methods:
        settings = resolve_settings([method], configure_options(method, options, rules))
        rules_for(method, settings)
        baseline_for(settings.baseline, probes)


def _pixel_bounds(preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """The values of the darkest and of the brightest pixel in the network's input, with sides of 1."""
    ends = np.array([0, 255], np.uint8)[:, None, None, None].repeat(preprocess.channels, axis=3)
    both = torch.from_numpy(preprocess.values(ends))
    return both[:1], both[1:]
