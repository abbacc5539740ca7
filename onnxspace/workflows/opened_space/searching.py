"""What is searched for one model, of the space or not: its kin, sources for its task, and its fingerprint by the space's protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from onnxspace.exporters.discovery import is_model
from onnxspace.inputs.config import Config
from onnxspace.inputs.execution import Execution, Share
from onnxspace.inputs.names import list_encoders
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.stated_pixels import Pixels, resolve_config
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.fingerprints.file import Fingerprint
from onnxspace.spaces.add_fingerprints import find_order, is_fingerprint, read_comparable_fingerprint
from onnxspace.spaces.create import baseline_of, probes_of
from onnxspace.spaces.neighbours import Neighbour, Query, find_neighbours
from onnxspace.spaces.packed import build_index
from onnxspace.workflows.fingerprint_file import Explained
from onnxspace.workflows.opened_space.view import OpenedSpace
from onnxspace.workflows.space_ranking import Comparing, Target, compare_models, find_sources
from onnxspace.workflows.space_sources import index_sources

Warn = Callable[[str], None] | None


@dataclass(frozen=True)
class Explaining:
    """How a model that is not in the space is explained to be compared."""

    encoder: str | Sequence[str] | None
    config: Config | str | Path | None
    execution: Execution
    probes: Probes | None
    pixels: Pixels


def find_target(space: OpenedSpace, model: str | Path | Fingerprint, explaining: Explaining, warn: Warn) -> Target:
    """The model of the space that `model` names, the fingerprint that it is, or what another model is explained to be."""
    if isinstance(model, Fingerprint) or (is_fingerprint(Path(model)) and not space.has_name(str(model))):
        return _read_target(space, model)
    if is_model(str(model)) and not space.has_name(str(model)):
        found, _, warnings = explain(space, Path(model), explaining)
        if warn is not None:
            for warning in warnings:
                warn(warning)
        return Target.of_fingerprint(found, model)
    return Target.of_entry(space.path, space.protocol, space.find_entry(str(model)))


def describe_target(space: OpenedSpace, target: str | Path | Fingerprint) -> Target:
    """The model of the space that `target` names, or the fingerprint that it is."""
    if isinstance(target, Fingerprint) or (is_fingerprint(Path(target)) and not space.holds(target)):
        return _read_target(space, target)
    return Target.of_entry(space.path, space.protocol, space.find_entry(str(target)))


def _read_target(space: OpenedSpace, model: str | Path | Fingerprint) -> Target:
    order = find_order(space.path, space.protocol)
    return Target.of_fingerprint(read_comparable_fingerprint(space.path, space.protocol, model, order), model)


def explain(space: OpenedSpace, model: Path, explaining: Explaining) -> Explained:
    """Explain a model that is not in the space by its protocol. Raises ModelError, ConfigError."""
    from onnxspace.workflows.add_to_space import list_records
    from onnxspace.workflows.fingerprint import fingerprint

    config = resolve_config(explaining.config, [model], explaining.pixels, whole=False)
    protocol, encoders = space.protocol, list_encoders(explaining.encoder)
    baseline = None if protocol.baseline is None else baseline_of(space.path, protocol)
    setup = protocol.setup(probes_of(space.path, protocol, explaining.probes), baseline)
    return fingerprint(model, protocol, setup, encoders, config, explaining.execution, partial(list_records, space.path))


def compare(space: OpenedSpace, target: str | Path | Fingerprint | None, comparing: Comparing) -> Affinity:
    """Compare all chosen models, or one with the others. Raises SpaceError."""
    space.refuse_replaced()
    asked = None if target is None else describe_target(space, target)
    return space.compare_kept(
        lambda keep: compare_models(space.path, space.protocol, asked, replace(comparing, keep=keep)),
        None if asked is None else asked.entry,
    )


def search_kin(space: OpenedSpace, target: Target, count: int, exact: bool, warn: Warn) -> tuple[Neighbour, ...]:
    """The chosen models whose fingerprints are nearest to that of `target`. Raises SpaceError."""
    query = Query(target.prints, count, target.identity, exact)
    return space.compare_kept(lambda keep: find_neighbours(space.path, space.protocol, query, warn, keep), target.entry)


def search_sources(space: OpenedSpace, target: Target, exact: bool, warn: Warn) -> Affinity:
    """The ranking of chosen models to start from for the task of `target`. Raises SpaceError."""
    how = Comparing(exact=exact, warn=warn)
    return space.compare_kept(
        lambda keep: find_sources(space.path, space.protocol, target, replace(how, keep=keep)), target.entry
    )


def build_kin_index(space: OpenedSpace, progress: Share | None) -> int:
    """Build the index of fingerprints; returns the number of models. Raises ConfigError, SpaceError, OutputError."""
    return space.compare_kept(lambda keep: build_index(space.path, space.protocol, progress, keep))


def build_use_index(space: OpenedSpace, progress: Share | None) -> int:
    """Build the index of sources; returns the number of models. Raises SpaceError, OutputError."""
    return space.compare_kept(lambda keep: index_sources(space.path, space.protocol, progress, keep))
