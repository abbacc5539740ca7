"""The main job in one call: models or their fingerprints → affinity. Torch and ONNX are loaded where a model needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from onnxspace.errors import ConfigError, OnnxspaceError
from onnxspace.inputs.config import Config, find_config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Compute, Device, Execution, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options
from onnxspace.inputs.names import find_target_name, list_encoders, name_models
from onnxspace.inputs.probes import Probes
from onnxspace.report.result_folder import result_folder, write_results
from onnxspace.scores.registry import find_spec
from onnxspace.scores.selection import (
    ATTRIBUTION,
    FEWEST,
    MOST_RANKED,
    Weight,
    refuse_fingerprints,
    select_scores,
)
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.agreement import (
    Prints,
    ProtocolRequest,
    agree,
    mark_incomparable,
    read_prints,
    record_of,
)
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.mixed import affinities, with_certainty_of_targets
from onnxspace.similarity.records import Failure

if TYPE_CHECKING:
    from onnxspace.similarity.records import ModelRecord

_TOO_MANY = (
    f"Sources are ranked by affinity, since predictivity of all pairs of more than {MOST_RANKED} models takes long;"
    " --by predictivity computes it."
)


def score(
    models: Sequence[str | Path],
    probes: Probes | None = None,
    *,
    method: Method | None = None,
    options: Options | None = None,
    encoder: str | Mapping[str, str] | Sequence[str] | None = None,
    config: Config | str | Path | None = None,
    device: Compute | Device = "auto",
    batch_size: int | None = None,
    output: str | Path | None = None,
    certainty: bool | Sequence[str] = False,
    cluster: str | None = None,
    memory: int = DEFAULT_MEMORY,
    by: str | Sequence[str] | None = None,
    weight: Weight | None = None,
    progress: Progress | None = None,
) -> Affinity:
    """Explain every model on the same probe images and compare their maps; `.fp` files are compared as they are.

    `encoder` is a tensor or node name for all models, or a mapping from model to name; `options` hold the baseline and the
    numbers of the method. Images and method that are not given are those of the first fingerprint, where they can be had, else
    64 generated images and `elrp`. A model that can't be read or converted, or a fingerprint made otherwise, is in `failed`.
    `by` names scores of pairs (`onnxspace.scores.registry`), the first of which is the matrix and ranks; `weight` is DEPARA's
    λ. Without it, the matrix is the affinity of maps, and sources are ranked by `predictivity`, or by affinity too where
    fingerprints, or fewer than 8 images, leave nothing else.
    `certainty` says for which targets (True: all) images are drawn again. `output` is a folder for maps and results, whole or
    not there; a stopped run goes on beside it. `cluster` is `local:4` or a Dask scheduler's address, whose workers see the same
    paths; `memory` bounds the bytes held while comparing. Raises ConfigError, OutputError, ClusterError.
    """
    paths, known = [Path(path) for path in models], config if isinstance(config, Config) else find_config(config)
    prints = read_prints(paths)
    many = len(paths) > MOST_RANKED
    maps_only = not by and weight is None and (bool(prints) or _are_few(probes) or many)
    want, options = select_scores(ATTRIBUTION if maps_only else by, weight, method or DEFAULT_METHOD, options)
    if certainty and not find_spec(want.ranked).resampled:
        raise ConfigError(
            f"The certainty of a ranking by {want.ranked} is not known. Name another score first, or leave it out."
        )
    targets = certainty if isinstance(certainty, bool) else _find_target_names(certainty, paths, known)
    wish = ProtocolRequest(probes, method, options, known.rules)
    if paths and all(path in prints for path in paths):
        refuse_fingerprints(want)
        return _compare_fingerprints(paths, known, mark_incomparable(prints) if wish.empty else agree(prints, wish).prints, targets, output)
    if cluster is not None:
        from onnxspace.workflows.cluster.client import check_cluster

        check_cluster(cluster)
    agreement = agree(prints, wish)
    if many and not by:
        agreement = replace(agreement, remarks=(*agreement.remarks, _TOO_MANY))
    from onnxspace.workflows.compare import score_models

    selection = replace(want, certain=targets if isinstance(targets, bool) else tuple(targets))
    execution = Execution.on(device, batch_size, progress, memory=memory, cluster=cluster)
    return score_models(
        paths, agreement, list_encoders(encoder), known, execution, selection, None if output is None else Path(output)
    )


def _are_few(probes: Probes | None) -> bool:
    """Whether the images are too few for anything to be learnt from one half of them."""
    return probes is not None and len(probes) < FEWEST


def _find_target_names(targets: Sequence[str], paths: Sequence[Path], config: Config) -> list[str]:
    names = name_models(paths, config)
    return [find_target_name(target, paths, names) for target in targets]


def _compare_fingerprints(
    paths: Sequence[Path], config: Config, prints: Prints, targets: bool | Sequence[str], output: str | Path | None
) -> Affinity:
    """Compare fingerprints alone."""
    result, shown = _compute_affinity(paths, name_models(paths, config), prints)
    result = with_certainty_of_targets(result, shown, targets)
    if output is not None:
        with result_folder(Path(output), _hash_prints(shown), 0) as work:
            if result.models:
                write_results(work.result, result)
    return result


def _compute_affinity(paths: Sequence[Path], names: Sequence[str], prints: Prints) -> tuple[Affinity, list[Fingerprint]]:
    records: list[ModelRecord] = []
    shown: list[Fingerprint] = []
    failed: list[Failure] = []
    for path, name in zip(paths, names, strict=True):
        try:
            record, one = record_of(prints[path], path, name)
        except OnnxspaceError as error:
            failed.append(Failure(str(path), str(error)))
        else:
            records.append(record)
            shown.append(one)
    matrix, errors = affinities(shown)
    if not shown:
        return Affinity((), matrix, DEFAULT_METHOD, {}, tuple(failed)), shown
    like = shown[0]
    probe = like.protocol.probe_facts()
    return Affinity(tuple(records), matrix, like.method, probe, tuple(failed), (), dict(like.options), errors), shown


def _hash_prints(shown: Sequence[Fingerprint]) -> str:
    """16 hex digits for what is compared."""
    return hashlib.sha256(b"".join(one.prints.tobytes() for one in shown)).hexdigest()[:16]
