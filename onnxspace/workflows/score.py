"""Comparison of models or their fingerprints. Torch and ONNX are loaded only if a model has to be explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxspace.errors import ConfigError, OnnxspaceError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Announce, Compute, Device, Execution, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, check_target
from onnxspace.inputs.names import EncoderNames, find_target_name, list_encoders, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import KEPT_BYTES
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target, to_target
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.report.result_folder import result_folder, write_results
from onnxspace.sandbox.limits import Limits, resolve_limits
from onnxspace.scores.folds import hash_images, order_by_content
from onnxspace.scores.reduce import arrays_of
from onnxspace.scores.registry import find_spec
from onnxspace.scores.selection import (
    ATTRIBUTION,
    FEWEST,
    MEAN_RANK,
    MOST_EXPLAINED,
    MOST_PICTURES,
    MOST_RANKED,
    ScoreSelection,
    Weight,
    refuse_fingerprints,
    select_scores,
)
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import (
    Agreement,
    Prints,
    ProtocolRequest,
    agree,
    mark_incomparable,
    read_prints,
    record_of,
)
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.mixed import affinities
from onnxspace.similarity.one_network import Subject, list_disagreements
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import find_evidence
from onnxspace.workflows.rank import add_certainty, add_scores
from onnxspace.workflows.session import start_early

_TOO_MANY = (
    f"Models are listed by affinity of their maps, since ranking the sources of more than {MOST_RANKED} takes long;"
    f" --by {MEAN_RANK} does it."
)
_TOO_FEW = f"Models are listed by affinity of their maps, since ranking sources takes {FEWEST} images or more."


def score(
    models: Sequence[str | Path],
    probes: Probes | str | Path | None = None,
    *,
    method: Method | None = None,
    options: Options | None = None,
    encoder: EncoderNames = None,
    config: Config | str | Path | None = None,
    pixels: Pixels = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    output: str | Path | None = None,
    certainty: bool | Sequence[str] = False,
    cluster: str | None = None,
    memory: int = DEFAULT_MEMORY,
    by: str | Sequence[str] | None = None,
    weight: Weight | None = None,
    progress: Progress | None = None,
    limits: Limits | str | None = None,
    announce: Announce | None = None,
    explained: Target | str | int | None = None,
) -> Affinity:
    """Explain all models on the same probe images and compare them; fingerprints (`.fp` files) are compared directly.

    `models` are ONNX files and fingerprints. `probes` are the images, or a folder of pictures of the task, of which up to 300 are
    used; `method` and `options` are what models are explained with. Where images and method are not given, they are those of the
    first fingerprint if they can be reproduced, otherwise 64 generated images and `elrp`. `encoder` is a tensor or node name for all
    models, a sequence of names that are explained together, or a mapping from model to either; `config` a configuration or its file; `pixels` a preset's name
    (`onnxspace.inputs.pixel_presets`), names by model, or `StatedPixels`; `device` a device's name or a `Compute`;
    `batch_size` the number of images per pass (None: chosen by memory).

    `by` names scores of pairs of models (`onnxspace.scores.registry`): the first is the matrix and ranks sources; `weight` is DEPARA's
    λ. Without `by`, the matrix is the affinity of maps of up to 64 images, and pictures (8 or more, for up to 100 models) rank sources
    by `mean_rank`; generated images say nothing of the task, and models are listed by affinity. `certainty` names the targets (True:
    all) whose rankings are resampled.

    `output` is a folder for maps and results, which is complete or absent; an interrupted run is resumed. `cluster` is `local:4` or
    the address of a Dask scheduler whose workers share the same paths; `memory` bounds the bytes of maps held while comparing;
    `progress` is the callback; `limits` are those of the process that reads models, such as `memory=4G,cpu=600,wall=300`;
    `announce` is called with the records of the models, pixels included, before anything is computed; `explained` is what maps are of
    instead of encoders: a class by its name or number, or a `Target`, which each model must have. Models that can't be read or converted, and fingerprints of another protocol, are listed in `failed`.
    Raises ConfigError, ProbeError, OutputError, ClusterError.

    >>> affinity = ox.score(["a.onnx", "b.onnx"], "photos/")  # doctest: +SKIP
    """
    paths = [Path(path) for path in models]
    configuration = resolve_config(config, paths, pixels)
    if cluster is None:
        start_early(device if isinstance(device, Compute) else Compute(device), resolve_limits(limits), paths)
    if isinstance(probes, str | Path):
        probes = read_pictures(probes, models, by)
    prints, asked = read_prints(paths), to_target(explained)
    alone = bool(paths) and all(path in prints for path in paths)
    seen, images = _describe_images(probes, prints if alone else {})
    pictures = find_evidence(seen) == "pictures"
    remarks = _explain_default(len(paths), images, asked) if pictures and not by and weight is None else ()
    ranks = pictures and not remarks and len(paths) > 1
    selected, options = select_scores(by, weight, method or DEFAULT_METHOD, options, pictures=ranks)
    if certainty and not find_spec(selected.ranked).resampled:
        raise ConfigError(
            f"The certainty of a ranking by {selected.ranked} can't be computed. Name another score first, or leave out the certainty."
        )
    targets = certainty if isinstance(certainty, bool) else _find_target_names(certainty, paths, configuration)
    request = ProtocolRequest(probes, method, options, configuration.rules)
    if asked is not None:
        _check_target(asked, method or DEFAULT_METHOD, selected, prints)
    if alone:
        refuse_fingerprints(selected)
        readable = mark_incomparable(prints) if request.empty else agree(prints, request).prints
        wanted = replace(selected, certain=targets if isinstance(targets, bool) else tuple(targets))
        return _compare_fingerprints(paths, configuration, readable, wanted, remarks, output)
    if cluster is not None:
        from onnxspace.workflows.cluster.client import check_cluster

        check_cluster(cluster)
    agreement = agree(prints, request)
    setup = replace(agreement.setup, target=asked)
    agreement = replace(agreement, setup=setup, remarks=(*agreement.remarks, *remarks))
    if selected.usual and not prints:
        agreement = _limit_maps(agreement)
    from onnxspace.workflows.compare import score_models

    selection = replace(selected, certain=targets if isinstance(targets, bool) else tuple(targets))
    execution = Execution.on(device, batch_size, progress, memory=memory, cluster=cluster, limits=limits, announce=announce)
    return score_models(
        paths, agreement, list_encoders(encoder), configuration, execution, selection, None if output is None else Path(output)
    )


def read_pictures(
    folder: str | Path,
    models: Sequence[str | Path],
    by: str | Sequence[str] | None,
    images: int | None = None,
    seed: int = 0,
    *,
    skip_broken: bool = False,
) -> Probes:
    """Read the pictures of `folder` that `score` compares `models` on.

    They are at most `images` of them (None: 300, or 64 where `by` names scores of maps alone), sampled by `seed`. With a fingerprint
    among the models, number and size are its own. `skip_broken` is as in `Probes.from_folder`. Raises ProbeError.
    """
    prints = [one for one in read_prints([Path(model) for model in models]).values() if isinstance(one, Fingerprint)]
    if prints and 3 * prints[0].images * prints[0].probe_size ** 2 <= KEPT_BYTES:  # a fingerprint's numbers are not trusted
        return Probes.from_folder(folder, images or prints[0].images, prints[0].probe_size, seed, skip_broken=skip_broken)
    names = [by] if isinstance(by, str) else by or (MEAN_RANK,)
    seen = any(kind in find_spec(name).arrays for name in names for kind in ("features", "outputs"))
    return Probes.from_folder(folder, images or (MOST_PICTURES if seen else None), seed=seed, skip_broken=skip_broken)


def _describe_images(probes: Probes | None, prints: Prints) -> tuple[str, int]:
    """Name and number of the images that models are compared on: `probes`, or those of `prints` that hold more than maps."""
    held = (one for one in prints.values() if isinstance(one, Fingerprint) and one.reduced is not None)
    if prints:
        first = next(held, None)
        return ("generated-0", 0) if first is None else (first.probe_name, first.images)
    return ("generated-0", 0) if probes is None else (probes.name, len(probes))


def _check_target(target: Target, method: Method, selected: ScoreSelection, prints: Prints) -> None:
    """Raise ConfigError where a target changes nothing, or can't be compared with what is there."""
    check_target(method, target)
    if prints:
        first = next(iter(prints))
        raise ConfigError(
            f"{first} holds maps of an encoder, not of {target.words}. Give the model itself, or leave the target out."
        )
    if not selected.needs("maps"):
        raise ConfigError(f"{selected.ranked} compares no maps, so {target.words} changes nothing. Add --by {ATTRIBUTION}.")


def _explain_default(models: int, images: int, target: Target | None) -> tuple[str, ...]:
    """Why pictures don't rank sources by default: a target, too many models, or too few images; empty where they do."""
    if target is not None:
        return (
            f"Models are listed by affinity of their maps, since these are of {target.words}; --by {MEAN_RANK} ranks sources.",
        )
    if models > MOST_RANKED:
        return (_TOO_MANY,)
    return (_TOO_FEW,) if models > 1 and images < FEWEST else ()


def _limit_maps(agreement: Agreement) -> Agreement:
    """Compute maps on some of many pictures only, chosen by their content; features and outputs are of all."""
    probes = agreement.setup.probes
    if len(probes) <= MOST_EXPLAINED:
        return agreement
    chosen = np.sort(np.argsort(order_by_content(hash_images(probes.images)), kind="stable")[:MOST_EXPLAINED])
    explained = Probes(probes.name, probes.images[chosen])
    return replace(agreement, setup=replace(agreement.setup, probes=explained), pictures=probes)


def _find_target_names(targets: Sequence[str], paths: Sequence[Path], config: Config) -> list[str]:
    names = name_models(paths, config)
    return [find_target_name(target, paths, names) for target in targets]


def _compare_fingerprints(
    paths: Sequence[Path], config: Config, prints: Prints, selection: ScoreSelection, remarks: tuple[str, ...],
    output: str | Path | None,
) -> Affinity:  # fmt: skip
    """Compare fingerprints alone."""
    result, compared = _compute_affinity(paths, name_models(paths, config), prints)
    subjects = [Subject(one.name, one.pixels, WeightSketch("")) for one in result.models if one.pixels is not None]
    result = replace(result, warnings=(*remarks, *list_disagreements(subjects), *result.warnings))
    order = next((one.reduced.order for one in compared if one.reduced is not None), np.zeros(0, np.intp))
    found, shares = add_scores(result, selection, [arrays_of(one) for one in compared], order)
    found, kept = add_certainty(found, selection, shares, compared, Execution())
    if output is not None:
        with result_folder(Path(output), _hash_prints(compared), 0) as work:
            if found.models:
                write_results(work.result, kept)
    return found


def _compute_affinity(paths: Sequence[Path], names: Sequence[str], prints: Prints) -> tuple[Affinity, list[Fingerprint]]:
    records: list[ModelRecord] = []
    compared: list[Fingerprint] = []
    failed: list[Failure] = []
    for path, name in zip(paths, names, strict=True):
        try:
            record, one = record_of(prints[path], path, name)
        except OnnxspaceError as error:
            failed.append(Failure(str(path), str(error)))
        else:
            records.append(record)
            compared.append(one)
    matrix, errors = affinities(compared)
    if not compared:
        return Affinity((), matrix, DEFAULT_METHOD, {}, tuple(failed)), compared
    like = compared[0]
    probe = like.protocol.probe_facts()
    return Affinity(
        tuple(records),
        matrix,
        like.method,
        probe,
        tuple(failed),
        (),
        dict(like.options),
        errors,
        evidence=find_evidence(probe["name"]),
    ), compared


def _hash_prints(compared: Sequence[Fingerprint]) -> str:
    """16 hex digits that identify the content of the compared fingerprints: their models, maps, features and outputs."""
    digest = hashlib.sha256()
    for one in compared:
        held = b"" if one.reduced is None else pack(one.reduced)
        facts = json.dumps([one.name, one.sha256, one.encoder, one.prints.nbytes, len(held)])
        digest.update(facts.encode() + one.prints.tobytes() + held)
    return digest.hexdigest()[:16]
