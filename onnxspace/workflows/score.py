"""Comparison of models or their fingerprints. Torch and ONNX are loaded only if a model has to be explained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Announce, Compute, Device, Execution, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options
from onnxspace.inputs.names import EncoderNames, name_models
from onnxspace.inputs.precision import ModelPrecision, read_precision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import state_options
from onnxspace.inputs.stated_pixels import Pixels
from onnxspace.inputs.targets import Target
from onnxspace.inputs.weight_sketch import WeightSketch
from onnxspace.report.result_folder import result_folder, write_results
from onnxspace.sandbox.limits import Limits
from onnxspace.sandbox.processors import limit_threads
from onnxspace.scores.reduce import arrays_of
from onnxspace.scores.selection import (
    ScoreSelection,
    Weight,
)
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import (
    Prints,
    record_of,
)
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.mixed import affinities
from onnxspace.similarity.one_network import Subject, list_disagreements
from onnxspace.similarity.records import Failure, ModelRecord
from onnxspace.similarity.reliability import find_evidence
from onnxspace.workflows.rank import add_certainty, add_scores
from onnxspace.workflows.score_plan import ScoreRequest, plan_score

#: Models that failed whose errors are given.
_MOST_NAMED = 5


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
    Raises ConfigError, ProbeError, OutputError, ClusterError,
    ModelNotFoundError where missing files leave no pair, and ModelError with the errors of the models where none can be compared.

    >>> affinity = ox.score(["a.onnx", "b.onnx"], "photos/")  # doctest: +SKIP
    """
    asked = ScoreRequest(
        models, probes, method, options, encoder, config, pixels, device, batch_size, certainty, cluster, memory, by, weight,
        progress, limits, announce, explained,
    )  # fmt: skip
    found = compare(asked, output)
    if not found.models and found.failed:
        raise ModelError(" ".join(failure.error for failure in found.failed[:_MOST_NAMED]))
    return found


def compare(asked: ScoreRequest, output: str | Path | None = None) -> Affinity:
    """Compare models as `score` does, but return a result without models where each of them failed. Raises as `score`."""
    plan = plan_score(asked)
    with limit_threads(asked.threads):
        if plan.agreement is None:
            return _compare_fingerprints(plan.paths, plan.config, plan.prints, plan.selection, plan.remarks, output)
        from onnxspace.workflows.compare import score_models

        return score_models(plan, None if output is None else Path(output))


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
        state_options(like.options),
        errors,
        evidence=find_evidence(probe["name"]),
        precisions={
            record.name: ModelPrecision(read_precision(one.options)) for record, one in zip(records, compared, strict=True)
        },
    ), compared


def _hash_prints(compared: Sequence[Fingerprint]) -> str:
    """16 hex digits that identify the content of the compared fingerprints: their models, maps, features and outputs."""
    digest = hashlib.sha256()
    for one in compared:
        held = b"" if one.reduced is None else pack(one.reduced)
        facts = json.dumps([one.name, one.sha256, one.encoder, one.prints.nbytes, len(held)])
        digest.update(facts.encode() + one.prints.tobytes() + held)
    return digest.hexdigest()[:16]
