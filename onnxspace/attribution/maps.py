"""Attribution maps of one model over a probe set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from onnxspace.attribution.batches import in_order
from onnxspace.attribution.devices import arranged, chosen, devices
from onnxspace.attribution.explainer import Explainer, Maps, check, explainer
from onnxspace.attribution.gradients import UNITS_AT_ONCE
from onnxspace.errors import AttributionError
from onnxspace.inputs.methods import DEFAULT_METHOD, METHODS, Compute, Device, Method, Options, resolve_settings
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import Converted, convert

VERIFIED_IMAGES = 2
_WORKING_SET = 600 * 2**20  # bytes of activations of one batch on a CPU: fixed, so that reruns are equal
_MAX_BATCH = 64


def attribute(
    model: Model | str | Path,
    probes: Probes,
    method: Method = DEFAULT_METHOD,
    *,
    options: Options | None = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Maps of every probe image: float32 [images, size, size], on the probe's own pixels.

    `elrp` is ε-LRP as a modified gradient, `gradient-x-input` is `x · dS/dx`, `saliency` is `|dS/dx|`, with S the sum over
    the encoder's units and the mean taken over input channels; `onnxspace.inputs.methods.METHODS` lists all. `options` holds the
    baseline, the few numbers that some take, and entries over the rules; `device` is a kind of processor, or how to use it.
    Raises ConfigError for impossible options, ModelError and its kin.
    """
    check([method], options, probes, {})
    opened = model if isinstance(model, Model) else open_model(model)
    converted = convert(opened, probes.images[:VERIFIED_IMAGES])
    return np.concatenate(list(map_batches(opened, converted, probes, method, device, batch_size, options=options)))


def map_batches(
    model: Model,
    converted: Converted,
    probes: Probes,
    method: Method,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    options: Options | None = None,
    warn: Callable[[str], None] | None = None,
    first: int = 0,
    errors: list[float] | None = None,
    known: dict[bytes, torch.Tensor] | None = None,
) -> Iterator[NDArray[np.float32]]:
    """Maps batch by batch, float32 [some images, size, size]; `progress` gets the number of images of each.

    `warn` gets a sentence for what a reader of the maps should know: operators without a rule, the error of an estimate.
    A batch that does not fit in memory is halved and tried again; several GPUs share the batches. `first` is the image to
    start at; `errors`, where the method estimates, holds the standard errors of the images before it and is added to.
    `known` is filled with gradients, which a call for another method of the same rules and the same model then uses.
    """
    engines = engines_for(model, converted, probes, method, device, batch_size, options, known)
    errors = [] if errors is None else errors
    for found in engines.maps(probes.images, first):
        errors += [] if found.errors is None else found.errors.tolist()
        if progress is not None:
            progress(len(found.maps))
        yield found.maps
    if warn is not None:
        for sentence in remarks_on(model.name, method, resolve_settings([method], options).units, engines.fallback, errors):
            warn(sentence)


@dataclass(frozen=True)
class Engines:
    """A converted model on all processors that share its images, in batches of `size`."""

    path: str
    each: Sequence[Explainer]
    size: int
    compute: Compute

    @property
    def fallback(self) -> Mapping[str, int]:
        """How many operators have no rule of the method, by name."""
        return self.each[0].fallback

    def maps(self, images: NDArray[np.uint8], first: int = 0) -> Iterator[Maps]:
        """Maps of `images` [images, size, size, 3] from `first` on, batch by batch. Raises AttributionError."""
        with arranged(self.compute), closing(in_order(self.each, images, self.size, first)) as batches:
            for begin, found in batches:
                _check_finite(found.maps, begin, self.path)
                yield found


def engines_for(
    model: Model, converted: Converted, probes: Probes, method: Method, device: Compute | Device, batch_size: int | None,
    options: Options | None = None, known: dict[bytes, torch.Tensor] | None = None,
) -> Engines:  # fmt: skip
    """Prepare a converted model on every processor that is asked for."""
    compute = chosen(device)
    settings = resolve_settings([method], options)
    each = [explainer(model, converted, method, place, probes, settings, compute, known) for place in devices(compute)]
    return Engines(model.path, each, _batch_size(converted, batch_size, each[0]), compute)


def remarks_on(name: str, method: Method, units: int, fallback: Mapping[str, int], errors: Sequence[float]) -> Iterator[str]:
    """What a reader of a model's maps should know: operators without a rule, and the mean of the maps' standard errors."""
    if fallback:
        kept = ", ".join(f"{operator} ×{count}" for operator, count in sorted(fallback.items()))
        yield f"{name}: {method} has no rule for {kept}; they keep their gradient."
    if errors:
        mean = float(np.mean(errors))
        yield f"{name}: maps are estimated from {units} units per image; their standard error is {mean:.1%} of their length."


def _batch_size(converted: Converted, asked: int | None, engine: Explainer) -> int:
    if not converted.batchable:
        return 1
    if asked is not None:
        return asked
    budget = torch.cuda.mem_get_info()[0] // 4 if engine.device.type == "cuda" else _WORKING_SET
    at_once = UNITS_AT_ONCE if METHODS[engine.method].way == "units" else 1
    return int(max(1, min(_MAX_BATCH, budget // max(1, converted.bytes_per_image)) // at_once))


def _check_finite(maps: NDArray[np.float32], first: int, path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2)))
    if bad.size:
        raise AttributionError(
            f"{path}: the map of probe image {first + int(bad[0])} is not finite. Try another --method or check the preprocessing."
        )
