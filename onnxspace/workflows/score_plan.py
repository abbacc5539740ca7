"""What a comparison will do: images, method, scores and execution, agreed before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from onnxspace.errors import ConfigError, ModelNotFoundError
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import DEFAULT_MEMORY, Announce, Compute, Device, Execution, Progress
from onnxspace.inputs.methods import DEFAULT_METHOD, Method, Options, check_target
from onnxspace.inputs.names import EncoderNames, find_target_name, list_encoders, list_paths, name_models
from onnxspace.inputs.nearest_names import describe_missing_file
from onnxspace.inputs.precision import ModelPrecision, Precision
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import KEPT_BYTES, read_target
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.inputs.targets import Target, describe_target, to_target
from onnxspace.sandbox.limits import Limits, resolve_limits
from onnxspace.scores.folds import hash_images, order_by_content
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
from onnxspace.similarity.fingerprints.agreement import (
    Agreement,
    Prints,
    ProtocolRequest,
    agree,
    list_records,
    mark_incomparable,
    read_prints,
)
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.similarity.records import Failure
from onnxspace.similarity.reliability import find_evidence
from onnxspace.workflows.session import start_early

_TOO_MANY = (
    f"Models are listed by affinity of their maps, since ranking the sources of more than {MOST_RANKED} takes long;"
    f" --by {MEAN_RANK} does it."
)
#: Missing files that are named.
_MOST_NAMED = 5
_FOLLOWED = "its maps are computed in {}, as those of the fingerprints are, with which they are compared."
_TOO_FEW = f"Models are listed by affinity of their maps, since ranking sources takes {FEWEST} images or more."


@dataclass(frozen=True)
class ScoreRequest:
    """The arguments of `onnxspace.score`, as they are described there."""

    models: Sequence[str | Path]
    probes: Probes | str | Path | None = None
    method: Method | None = None
    options: Options | None = None
    encoder: EncoderNames = None
    config: Config | str | Path | None = None
    pixels: Pixels = None
    device: Compute | Device = "auto"
    batch_size: int | None = None
    certainty: bool | Sequence[str] = False
    cluster: str | None = None
    memory: int = DEFAULT_MEMORY
    by: str | Sequence[str] | None = None
    weight: Weight | None = None
    progress: Progress | None = None
    limits: Limits | str | None = None
    announce: Announce | None = None
    explained: Target | str | int | None = None

    @property
    def precision(self) -> Precision | None:
        """The precision that is asked for."""
        return self.device.precision if isinstance(self.device, Compute) else None

    @property
    def threads(self) -> int:
        """The number of threads that is asked for (0: none)."""
        return self.device.threads if isinstance(self.device, Compute) else 0

    def make_execution(self) -> Execution:
        """How it is executed. Raises ConfigError."""
        return Execution.on(
            self.device, self.batch_size, self.progress, memory=self.memory, cluster=self.cluster, limits=self.limits,
            announce=self.announce,
        )  # fmt: skip


@dataclass(frozen=True)
class ScorePlan:
    """What a comparison will do: `agreement` has images and method; it is None where fingerprints alone are compared, `prints`.

    `encoders` are values of `--encoder`, `selection` the scores to compute, `remarks` sentences on the choice of scores. `asked_precision`
    is the precision that was asked for (None: none), that of `execution` the one to use.
    """

    paths: Sequence[Path]
    config: Config
    execution: Execution
    selection: ScoreSelection
    agreement: Agreement | None
    encoders: Sequence[str] = ()
    prints: Prints = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    asked_precision: Precision | None = None

    @property
    def least_opened(self) -> int:
        """How many models must be open, beside the fingerprints that can be compared, so that there is a pair."""
        readable = sum(isinstance(self.agreement.prints.get(path), Fingerprint) for path in self.paths) if self.agreement else 0
        return 2 - readable if len(self.paths) > 1 else 0

    @property
    def stated_precision(self) -> ModelPrecision:
        """The precision of the maps of models for which none is chosen."""
        used = "float32" if self.agreement is None else self.agreement.setup.precision
        followed = self.asked_precision not in (None, used) or (self.asked_precision is None and used != "float32")
        return ModelPrecision(used, self.asked_precision, reason=_FOLLOWED.format(used) if followed else "")


def plan_score(asked: ScoreRequest) -> ScorePlan:
    """Read pictures and fingerprints, and choose images, method and scores. Raises ConfigError, ProbeError, ClusterError."""
    paths = list_paths(asked.models)
    refuse_missing(paths)
    config = resolve_config(asked.config, paths, asked.pixels)
    probes = _read_probes(asked, paths)
    prints = read_prints(paths)
    alone = bool(paths) and all(path in prints for path in paths)
    target = _choose_target(to_target(asked.explained), prints)
    selected, options, remarks = _select(asked, paths, _describe_images(probes, prints if alone else {}), target)
    selected = replace(selected, certain=_find_certain(asked, paths, config))
    request = ProtocolRequest(probes, asked.method, options, config.rules, target, asked.precision)
    if asked.explained is not None and target is not None:
        _check_target(target, asked.method or DEFAULT_METHOD, selected)
    if alone:
        refuse_fingerprints(selected)
        readable = mark_incomparable(prints) if request.empty else agree(prints, request).prints
        return ScorePlan(paths, config, Execution(), selected, None, prints=readable, remarks=remarks)
    _check_cluster(asked.cluster)
    agreement = _limit_maps(_agree(prints, request, remarks), selected)
    execution = _choose_precision(asked.make_execution(), agreement)
    return ScorePlan(
        paths, config, execution, selected, agreement, list_encoders(asked.encoder), asked_precision=asked.precision
    )


def list_lost(models: Sequence[str | Path]) -> tuple[Failure, ...]:
    """The missing files, if without them there is no pair to compare; among enough others they are listed as what can't be read is."""
    missing = [path for path in map(Path, models) if ":" not in str(path) and not os.path.lexists(path)]
    if not missing or len(models) - len(missing) >= min(2, len(models)):
        return ()
    return tuple(Failure(str(path), f"{path}: {describe_missing_file(path)}") for path in missing)


def refuse_missing(models: Sequence[str | Path]) -> None:
    """Raise ModelNotFoundError for missing files without which there is no pair to compare."""
    if lost := list_lost(models):
        missing = [one.path for one in lost]
        left = [path for path in map(Path, models) if str(path) not in missing]
        alone = f" Without it, only {left[0]} is left, and there is nothing to compare it with." if left else ""
        raise ModelNotFoundError(" ".join(one.error for one in lost[:_MOST_NAMED]) + alone)


def _choose_precision(execution: Execution, agreement: Agreement) -> Execution:
    """The execution in the precision of the fingerprints; without any, what is asked for."""
    if execution.compute.precision == "auto" and not list_records(agreement.prints):
        return execution
    return execution.with_precision(agreement.setup.precision)


def _read_probes(asked: ScoreRequest, paths: Sequence[Path]) -> Probes | None:
    """The images, read while workers start, which import their libraries."""
    if asked.cluster is None:
        compute = asked.device if isinstance(asked.device, Compute) else Compute(asked.device)
        start_early(compute, resolve_limits(asked.limits), paths)
    return read_pictures(asked.probes, asked.models, asked.by) if isinstance(asked.probes, str | Path) else asked.probes


def _select(
    asked: ScoreRequest, paths: Sequence[Path], described: tuple[str, int], target: Target | None
) -> tuple[ScoreSelection, Options | None, tuple[str, ...]]:
    """The scores, the options of the method, and why pictures don't rank sources. Raises ConfigError."""
    name, images = described
    pictures = find_evidence(name) == "pictures"
    default = pictures and not asked.by and asked.weight is None
    remarks = _explain_default(len(paths), images, target) if default else ()
    ranks = pictures and not remarks and len(paths) > 1
    selected, options = select_scores(asked.by, asked.weight, asked.method or DEFAULT_METHOD, asked.options, pictures=ranks)
    if asked.certainty and not find_spec(selected.ranked).resampled:
        raise ConfigError(
            f"The certainty of a ranking by {selected.ranked} can't be computed. Name another score first, or leave out the certainty."
        )
    return selected, options, remarks


def _find_certain(asked: ScoreRequest, paths: Sequence[Path], config: Config) -> bool | tuple[str, ...]:
    """The names of the targets whose rankings are resampled, or whether all are."""
    if isinstance(asked.certainty, bool):
        return asked.certainty
    return tuple(_find_target_names(asked.certainty, paths, config))


def _check_cluster(cluster: str | None) -> None:
    if cluster is not None:
        from onnxspace.workflows.cluster.client import check_cluster

        check_cluster(cluster)


def _agree(prints: Prints, request: ProtocolRequest, remarks: tuple[str, ...]) -> Agreement:
    found = agree(prints, request)
    return replace(found, remarks=(*found.remarks, *remarks))


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


def _choose_target(asked: Target | None, prints: Prints) -> Target | None:
    """What is explained instead of encoders: what is asked, else that of the fingerprints.

    Raises ConfigError where a fingerprint holds maps of something else than what is asked.
    """
    held = {path: read_target(one.options) for path, one in prints.items() if isinstance(one, Fingerprint)}
    other = next((path for path, target in held.items() if asked not in (None, target)), None)
    if other is None or asked is None:
        return asked or next(iter(held.values()), None)
    raise ConfigError(
        f"{other} holds maps of {describe_target(held[other])}, not of {asked.words}. Give the model itself, or leave the target out."
    )


def _check_target(target: Target, method: Method, selected: ScoreSelection) -> None:
    """Raise ConfigError where a target changes nothing."""
    check_target(method, target)
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


def _limit_maps(agreement: Agreement, selected: ScoreSelection) -> Agreement:
    """Compute maps on some of many pictures only, chosen by their content; features and outputs are of all."""
    probes = agreement.setup.probes
    if not selected.usual or agreement.prints or len(probes) <= MOST_EXPLAINED:
        return agreement
    chosen = np.sort(np.argsort(order_by_content(hash_images(probes.images)), kind="stable")[:MOST_EXPLAINED])
    explained = Probes(probes.name, probes.images[chosen])
    return replace(agreement, setup=replace(agreement.setup, probes=explained), pictures=probes)


def _find_target_names(targets: Sequence[str], paths: Sequence[Path], config: Config) -> list[str]:
    names = name_models(paths, config)
    return [find_target_name(target, paths, names) for target in targets]
