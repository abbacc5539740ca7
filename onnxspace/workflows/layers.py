"""Choosing the layer of a source network to transfer from: each layer is compared with a target's encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Advance, Announce, Compute, Counter, Device, Execution, Progress
from onnxspace.inputs.methods import METHODS, Method, Options, configure_options, resolve_settings
from onnxspace.inputs.names import is_fingerprint, join_tensors, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.sandbox.limits import Limits
from onnxspace.scores.layer_table import Layer, LayerTable
from onnxspace.storage.atomic import scratch_folder
from onnxspace.storage.json_fields import is_text, is_whole
from onnxspace.workflows.requests import DescribedModel, encode_execution, read_texts, wrong_answer
from onnxspace.workflows.session import ModelSession, open_session

DEFAULT_METHOD: Method = "gradient-x-input"
#: λ; the paper reports results for 1 and 10.
DEFAULT_WEIGHT = 1.0


def layers(
    source: str | Path,
    target: str | Path,
    probes: Probes | None = None,
    *,
    method: Method = DEFAULT_METHOD,
    weight: float = DEFAULT_WEIGHT,
    options: Options | None = None,
    encoder: str | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
) -> LayerTable:
    """Score the layers of the model `source` as starting points for the task of the model `target`.

    A layer is the last tensor before a trained node that every path from the image passes through, or the source's encoder in its
    place, and finally the source's output; of more than 64, 64 evenly spaced. On the probe images `probes` (None: 64 generated ones)
    each is compared with the target's encoder, which `encoder` may name (several tensors as a sequence): S_V is the mean cosine of attribution maps, S_E the rank
    correlation of the cosines of features, S = S_V + `weight` S_E with `weight` ≥ 0. Features of more than 16,384 values are averaged
    over windows; of more than 2,000 images, 2,000 are compared in pairs. `method` must compute one gradient per image; `options` are
    its options, `config` a configuration or its file, `pixels` a preset's name, names by model, or
    `StatedPixels`, `device` a device's name or a `Compute`, `batch_size` the number of images per
    pass (None: chosen by memory), `progress` the callback, `limits` those of the process that reads the models, `announce` is called with
    the records of both before anything is computed. Raises ConfigError for invalid options and for fingerprints, ModelError
    for models that can't be used.

    >>> table = ox.layers("resnet50.onnx", "segmentation.onnx")  # doctest: +SKIP
    """
    probes = Probes.generate() if probes is None else probes
    paths = [Path(source), Path(target)]
    refuse_fingerprints(paths)
    configuration = resolve_config(config, paths, pixels)
    execution = Execution.on(device, batch_size, progress, limits=limits)
    _check(method, weight, len(probes))
    names = name_models(paths[:1], configuration) * 2 if paths[0] == paths[1] else name_models(paths, configuration)
    counter = Counter(2 * len(probes), progress)
    with open_session(execution) as session, scratch_folder() as folder:
        session.check([method], Setup(probes, method, options), configuration.rules)
        setup = Setup(probes, method, configure_options(method, options, configuration.rules))
        turns = list(zip(paths, names, (None, join_tensors(encoder)), strict=True))
        opened = session.open_models(configuration)
        opened.announce(turns, announce)
        first, second = map(opened.take, turns)
        counter.advance(0, second.record.name)
        found = _compare(session, first, second, setup, weight, folder, lambda images: counter.advance(images, "layers"))
        table = _parse_table(found, (first, second), setup, weight)
        return replace(table, warnings=(*opened.warnings, *table.warnings))


def _compare(
    session: ModelSession, source: DescribedModel, target: DescribedModel, setup: Setup, weight: float, folder: Path,
    advance: Advance,
) -> Any:  # fmt: skip
    more = {
        "source": asdict(source.located), "source_sha256": source.record.sha256,
        "target": asdict(target.located), "target_sha256": target.record.sha256,
        "setup": session.place(setup), "execution": encode_execution(session.execution), "weight": weight,
    }  # fmt: skip
    return session.compute("layers", source, folder, advance, **more)


def _parse_table(found: Any, models: tuple[DescribedModel, DescribedModel], setup: Setup, weight: float) -> LayerTable:
    """Check what a worker has answered. Raises ModelError."""
    source, target = models
    try:
        rows = tuple(Layer(**{**row, "shape": tuple(row["shape"])}) for row in found["layers"])
        if not (all(map(_is_layer, rows)) and is_whole(found["trained"], 0, 2**31) and is_whole(found["skipped"], 0, 2**31)):
            raise ValueError("it has other fields")
        warnings = (*target.remarks, *read_texts(found["warnings"])[len(target.remarks) :])
        return LayerTable(
            replace(source.record, encoder=str(found["encoder"])), target.record, rows, found["trained"], weight, setup.method,
            setup.probe_facts(), setup.stated_options, found["skipped"], warnings,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise wrong_answer(source.record.path) from error


def _is_layer(row: Layer) -> bool:
    numbers = (row.share_below, row.nodes, *(value for value in (row.edges, row.score) if value is not None))
    sizes = is_whole(row.trained_below, 0, 2**31) and all(is_whole(size, 0, 2**62) for size in row.shape)
    return is_text(row.tensor, 2**16) and sizes and all(isinstance(value, float) and isfinite(value) for value in numbers)


def refuse_fingerprints(paths: Sequence[Path]) -> None:
    """Raise ConfigError for fingerprints, which hold centred averages of the features of one tensor, not those of all layers."""
    for path in filter(is_fingerprint, paths):
        raise ConfigError(
            f"{path} is a fingerprint, which does not hold the features that layers are compared by. Give the model itself; whole "
            f"models are compared with fingerprints by `onnxspace score`."
        )


def _check(method: Method, weight: float, images: int) -> None:
    resolve_settings([method])
    if METHODS[method].place != "image":
        raise ConfigError(f"--method {method} computes maps at one place of a network, not at its layers. Use another one.")
    if METHODS[method].way not in ("product", "absolute"):
        fit = ", ".join(name for name, spec in METHODS.items() if spec.way in ("product", "absolute"))
        raise ConfigError(f"--method {method} takes several gradients per image, too many for all layers. Use one of {fit}.")
    if isinstance(weight, bool) or not (isinstance(weight, int | float) and 0 <= weight < float("inf")):
        raise ConfigError(f"--lambda is {weight!r} but must be a number of at least 0.")
    if images < 3:
        raise ConfigError(f"Layers are compared by the similarity of images, which takes at least 3 images, not {images}.")
