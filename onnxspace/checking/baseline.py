"""Baselines that an artifact is compared with: a model file, a fingerprint with a notes file, or a model of a space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from onnxspace.checking.file_facts import facts_without_file
from onnxspace.checking.notes import read_notes, refuse_to_replace, write_notes
from onnxspace.checking.observation import Observation
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, ProbeError, SpaceError
from onnxspace.inputs.names import is_fingerprint
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol, describe_method
from onnxspace.similarity.fingerprints.agreement import Agreement, ProtocolRequest
from onnxspace.similarity.fingerprints.file import Fingerprint, read_fingerprint, write_fingerprint
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.regular_files import map_array
from onnxspace.storage.short_text import count


@dataclass(frozen=True)
class BaselineReference:
    """Where a baseline is: `kind` is what `path` names; `name` is the model's name within a space."""

    kind: Literal["model", "print", "space"]
    path: Path
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.kind == "space" else str(self.path)


def parse_reference(text: str) -> BaselineReference:
    """Parse a baseline as a user writes it: `old.onnx`, `old.fp` or `zoo.space:name`. Raises ConfigError for a bare folder."""
    folder, colon, name = text.rpartition(":")
    if colon and name and (Path(folder).is_dir() or folder.endswith(".space")):
        return BaselineReference("space", Path(folder), name)
    if is_fingerprint(Path(text)):
        return BaselineReference("print", Path(text))
    if Path(text).is_dir():
        raise ConfigError(f"{text} is a folder. Give a file in it; a model of a space is named as ZOO.space:NAME.")
    return BaselineReference("model", Path(text))


def write_baseline(path: Path, found: Observation, protocol: Protocol) -> None:
    """Write the fingerprint `path`, and beside it a notes file with facts of the model and its signals per image.

    `found` is the observation to keep, `protocol` what it was made with. Each file is written whole or not at all; a notes
    file that does not belong to its fingerprint is not used when it is read. Raises ModelError for an observation that no
    artifact could pass, ConfigError where one of the two files exists and is no baseline, and OutputError.
    """
    facts = found.facts
    _refuse_unfit(found)
    if path.exists() or path.is_symlink():
        _refuse_other_file(path)
    refuse_to_replace(path)
    with whole_file(path) as partial:
        write_fingerprint(partial, Fingerprint(
            facts.name, facts.sha256, facts.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, found.prints, protocol.sketch,
            protocol.fingerprint_options(), protocol.sketch_version, pixels=facts.pixels,
        ))  # fmt: skip
    write_notes(path, found)


def _refuse_unfit(found: Observation) -> None:
    for name, signal in found.outputs.items():
        if bad := int((~signal.finite).sum()):
            raise ModelError(
                f"{found.facts.path} computes NaN or infinity in its output {name} for {bad} of {count(signal.images, 'image')}, so no baseline was "
                "written. Check its weights and preprocessing."
            )


def _refuse_other_file(path: Path) -> None:
    if isinstance(try_read_fingerprint(path), OnnxspaceError):
        raise ConfigError(
            f"{path} exists and is not a fingerprint that can be read, so --update does not replace it. Move it away."
        )


def read_baseline(path: Path, one: Fingerprint) -> tuple[Observation, str]:
    """The observation that a fingerprint and its notes hold, and why it has no notes (empty where it has).

    `path` is the fingerprint's file, `one` its content. Without usable notes the observation holds only the fingerprint.
    Raises ModelError for a damaged notes file.
    """
    found, reason = read_notes(path, one)
    if found is not None:
        return found, ""
    facts = facts_without_file(one.name, str(path), one.sha256, one.encoder)
    return Observation(replace(facts, pixels=one.pixels), one.prints, None, {}), reason


def read_from_space(place: BaselineReference) -> tuple[Observation, Probes, Protocol]:
    """The observation of a model of a space, and the space's probe images and protocol. Raises SpaceError."""
    from onnxspace.spaces.layout import maps_path, read_prints
    from onnxspace.workflows.space import Space

    space = Space.open(place.path)
    entry = next((one for one in space.entries() if one.name == place.name), None)
    if entry is None:
        raise SpaceError(
            f"{place.path} has no model named {place.name!r}. Its models are: {', '.join(space.names[:20]) or 'none'}."
        )
    facts = replace(facts_without_file(entry.name, entry.path, entry.sha256, entry.encoder), pixels=entry.pixels)
    prints = np.array(read_prints(place.path, [entry.stem], space.protocol)[0])
    maps = None if entry.maps is None else map_array(maps_path(place.path, entry.stem))
    return Observation(facts, prints, None, {}, maps), space.probes(), space.protocol


def try_read_fingerprint(path: Path) -> Fingerprint | OnnxspaceError:
    """The fingerprint in a file, or the error that says why it can't be read."""
    try:
        return read_fingerprint(path)
    except OnnxspaceError as error:
        return error


def agree_with_space(made: Protocol, probes: Probes, request: ProtocolRequest) -> Agreement:
    """The images and method of a space. Raises ProbeError, ConfigError where the plan names others."""
    if request.probes is not None and request.probes.sha256 != probes.sha256:
        raise ProbeError(
            "The configuration names other probe images than those of the space. Leave them out, or name another baseline."
        )
    stated = None if request.options is None else request.options.baseline
    if request.method not in (None, made.method) or stated not in (None, made.options.get("baseline", "zero")) or made.baseline:
        way = describe_method(made.method, made.options)
        raise ConfigError(f"The space's maps are made by {way}, which this check can't use. Name another baseline.")
    return Agreement(made.setup(probes, None))
