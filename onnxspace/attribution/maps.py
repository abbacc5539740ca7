"""Attribution maps of one model on probe images, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.batches import compute_in_order
from onnxspace.attribution.devices import configure_torch, list_devices, resolve_compute
from onnxspace.attribution.explainer import Explainer, Maps, check_options, make_explainer
from onnxspace.attribution.gradients import UNITS_AT_ONCE
from onnxspace.attribution.memory_bound import fit_memory
from onnxspace.attribution.precision import can_try, try_half
from onnxspace.attribution.subject import Subject, find_subject
from onnxspace.errors import AttributionError
from onnxspace.inputs.execution import Compute, Device, Execution
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, Method, Options
from onnxspace.inputs.precision import ModelPrecision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target, to_target
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import EncoderGraph, convert

VERIFIED_IMAGES = 2
_WORKING_SET = 600 * 2**20  # bytes of activations of one batch on a CPU: constant, so that runs are reproducible
_MAX_BATCH = 64


def attribute(
    model: Model | str | Path,
    probes: Probes,
    method: Method = DEFAULT_METHOD,
    *,
    options: Options | None = None,
    target: Target | str | int | None = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Compute the attribution map of every image of `probes`: float32 [images, size, size], at the size of these images.

    `model` is a model or the path of an ONNX file. `method` is one of `onnxspace.inputs.methods.METHODS`: `elrp` is ε-LRP as a
    modified gradient, `gradient-x-input` is `x · dS/dx`, `saliency` is `|dS/dx|`, with S the sum over the encoder's units and the
    mean over input channels. `options` are the method's options (None: its defaults); `target` is what is explained instead of the
    encoder: a class by its name or number, or a `Target`, such as `make_targets` of `onnxspace.inputs.targets` makes; `device` is a device's name or a `Compute`;
    `batch_size` is the number of images per pass (None: chosen by memory). Raises ConfigError for invalid options and targets, ModelError.

    >>> maps = ox.attribute("resnet50.onnx", ox.Probes.generate(8), "saliency")  # doctest: +SKIP
    """
    setup = Setup(probes, method, options, to_target(target))
    check_options([method], options, probes, {})
    opened = model if isinstance(model, Model) else open_model(model)
    subject = find_subject(opened, setup)
    converted = convert(opened, probes.images[:VERIFIED_IMAGES], subject.encoder)
    engines = engines_for(opened, converted, setup, Execution.on(device, batch_size), subject=subject)
    return np.concatenate([found.maps for found in engines.maps()])


@dataclass(frozen=True)
class Engines:
    """A converted model on all devices that share the images (`explainers`, one per device), in batches of `size` images.

    `choice` is the precision, and why it was chosen, where that was by a measurement (None: it was stated).
    """

    model: Model
    setup: Setup
    explainers: Sequence[Explainer]
    size: int
    compute: Compute
    choice: ModelPrecision | None = None

    @property
    def path(self) -> str:
        """The path of the model file."""
        return self.model.path

    @property
    def fallback(self) -> Mapping[str, int]:
        """Number of operators that have no rule of the method, by name."""
        return self.explainers[0].fallback

    def maps(self, first: int = 0, end: int | None = None) -> Iterator[Maps]:
        """Yield the maps of the probe images from `first` on, before `end` (None: all), batch by batch in order.

        Where a batch does not fit in memory, it is halved; several GPUs share the batches. Raises AttributionError where one image
        does not fit, or a map is not finite.
        """
        images = self.setup.probes.images[:end]
        with configure_torch(self.compute), closing(compute_in_order(self.explainers, images, self.size, first)) as batches:
            for begin, found in batches:
                _check_finite(found.maps, begin, self.path)
                yield found

    def remarks(self, errors: Sequence[float]) -> tuple[str, ...]:
        """Return warnings about maps that were computed, without the model's name; `errors` are relative standard errors of estimates."""
        return (
            *remarks_on(self.setup, self.fallback, errors),
            *(() if self.choice is None else (self.choice.reason,)),
            *self.uncompiled,
        )

    @property
    def uncompiled(self) -> tuple[str, ...]:
        """That and why networks were not compiled or passes not recorded, where they should be: in words, after they were computed."""
        return tuple(dict.fromkeys(remark for one in self.explainers for remark in one.remarks))

    def without_recording(self) -> Engines:
        """The same, which records no passes."""
        plain = [replace(one, network=replace(one.network, recorded=None)) for one in self.explainers]
        return replace(self, explainers=plain)


def engines_for(
    model: Model,
    converted: EncoderGraph,
    setup: Setup,
    execution: Execution,
    gradients: dict[bytes, torch.Tensor] | None = None,
    subject: Subject | None = None,
) -> Engines:
    """Prepare a converted model on every device that `execution` selects.

    `gradients` is a cache of gradients, shared by calls for other methods with the same rules, model and subject (None: no cache);
    `subject` is what is explained of the model (None: the converted encoder). Where memory is short, batches are smaller than
    `execution` says, and activations are computed again in the backward pass. Raises ConfigError and ProbeError as `make_explainer`,
    AttributionError where one image does not fit.
    """
    compute, choice = resolve_compute(execution.compute), None
    if compute.precision == "auto":
        choice = _choose_precision(model, converted, setup, replace(execution, compute=compute), subject)
        compute = replace(compute, precision=choice.used)
    each = [make_explainer(model, converted, setup, place, compute, gradients, subject) for place in list_devices(compute)]
    size, activations = _choose_batch_size(converted, execution.batch_size, each[0]), converted.bytes_per_image
    del converted  # the explainers have their own form of it: where nobody else needs it, its weights make room
    fits = [fit_memory(one, setup.probes.images, size, activations) for one in each]
    return Engines(model, setup, [fit.explainer for fit in fits], min(fit.size for fit in fits), compute, choice)


def _choose_precision(
    model: Model, converted: EncoderGraph, setup: Setup, execution: Execution, subject: Subject | None
) -> ModelPrecision:
    """The precision that a measurement on the first device chooses, and why."""
    compute, place = execution.compute, list_devices(execution.compute)[0]
    if not can_try(place):
        return ModelPrecision("float32", "auto", reason="its maps are computed in float32: this GPU has no units for bf16.")

    def make(one: Compute) -> Explainer:
        made = make_explainer(model, converted, setup, place, one, subject=subject)
        return fit_memory(made, setup.probes.images, size, converted.bytes_per_image).explainer

    with configure_torch(compute):
        first = make_explainer(model, converted, setup, place, compute, subject=subject)
        size = _choose_batch_size(converted, execution.batch_size, first)
        size = fit_memory(first, setup.probes.images, size, converted.bytes_per_image).size
        return try_half(make, compute, setup.probes.images, size).record()


def remarks_on(setup: Setup, fallback: Mapping[str, int], errors: Sequence[float]) -> Iterator[str]:
    """Yield warnings about a model's maps: operators without a rule (`fallback`), and the mean of the relative standard `errors`."""
    if fallback:
        kept = ", ".join(f"{operator} ×{count}" for operator, count in sorted(fallback.items()))
        yield f"{setup.method} has no rule for {kept}; they keep their gradient."
    if errors:
        mean = float(np.mean(errors))
        yield f"maps are estimated from {setup.settings.units} units per image; their standard error is {mean:.1%} of their norm."


def _choose_batch_size(converted: EncoderGraph, requested: int | None, engine: Explainer) -> int:
    if not converted.batchable:
        return 1
    least = engine.images_at_once
    return max(1, _choose_images(converted, requested, engine) // least) * least


def _choose_images(converted: EncoderGraph, requested: int | None, engine: Explainer) -> int:
    if requested is not None:
        return requested
    budget = torch.cuda.mem_get_info()[0] // 4 if engine.device.type == "cuda" else _WORKING_SET
    at_once = UNITS_AT_ONCE if METHODS[engine.method].way == "units" else 1
    return int(max(1, min(_MAX_BATCH, budget // max(1, converted.bytes_per_image)) // at_once))


def _check_finite(maps: NDArray[np.float32], first: int, path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if bad.size:
        raise AttributionError(
            f"{path}: the map of probe image {first + int(bad[0])} is not finite. Try another --method or check the preprocessing."
        )
