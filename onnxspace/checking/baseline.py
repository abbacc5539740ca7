"""Baselines that an artifact is compared with: a model file, a fingerprint with a notes file, or a model of a space."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onnxspace.checking.observation import Observation, Signal, facts_dict, facts_without_file, read_facts
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, SpaceError
from onnxspace.inputs.names import is_fingerprint
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, read_fingerprint, write_fingerprint
from onnxspace.storage.atomic import whole_file
from onnxspace.storage.regular_files import map_array, read_regular

SCHEMA = "onnxspace/baseline/1"
NOTES = ".json"
_MOST_BYTES = 2**26


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
    if colon and name and Path(folder).is_dir():
        return BaselineReference("space", Path(folder), name)
    if is_fingerprint(Path(text)):
        return BaselineReference("print", Path(text))
    if Path(text).is_dir():
        raise ConfigError(f"{text} is a folder; name a model of a space as {text}:NAME.")
    return BaselineReference("model", Path(text))


def notes_of(path: Path) -> Path:
    """The notes file beside the fingerprint at `path`: `NAME.json` for `NAME.fp`."""
    return path.with_suffix(NOTES)


def write_baseline(path: Path, found: Observation, protocol: Protocol) -> None:
    """Write the fingerprint `path`, and beside it a notes file with facts of the model and its signals per image.

    `found` is the observation to keep, `protocol` what it was made with. Each file is written whole or not at all; a notes
    file that does not belong to its fingerprint is ignored when it is read. Raises OutputError.
    """
    facts = found.facts
    with whole_file(path) as partial:
        write_fingerprint(partial, Fingerprint(
            facts.name, facts.sha256, facts.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, found.prints, protocol.sketch,
            protocol.fingerprint_options(), protocol.sketch_version,
        ))  # fmt: skip
    notes: dict[str, Any] = {"schema": SCHEMA, "facts": {**facts_dict(facts), "path": Path(facts.path).name}}
    if found.encoder is not None:
        notes["encoder"] = found.encoder.to_dict()
    notes["outputs"] = {name: signal.to_dict() for name, signal in found.outputs.items()}
    with whole_file(notes_of(path)) as partial:
        partial.write_text(json.dumps(notes, indent=1) + "\n", "utf-8")


def read_baseline(path: Path, one: Fingerprint) -> tuple[Observation, tuple[str, ...]]:
    """The observation that a fingerprint and its notes hold, and warnings about the notes.

    `path` is the fingerprint's file, `one` its content. Without usable notes the observation holds only the fingerprint.
    Raises ModelError for a damaged notes file.
    """
    bare = facts_without_file(one.name, str(path), one.sha256, one.encoder)
    notes = notes_of(path)
    if not notes.exists():
        return Observation(bare, one.prints, None, {}), (f"{path} has no notes file beside it, so only maps are compared.",)
    content = _read_notes(notes)
    facts = read_facts(content.get("facts", {}), notes)
    if facts.sha256 != one.sha256:
        return Observation(bare, one.prints, None, {}), (f"{notes} describes another model than {path}, and is ignored.",)
    try:
        encoder = Signal.read(content["encoder"]) if "encoder" in content else None
        outputs = {str(name): Signal.read(signal) for name, signal in content["outputs"].items()}
        if any(len(signal.lengths) != one.images for signal in (*outputs.values(), *([encoder] if encoder else []))):
            raise ValueError("its numbers of images differ")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{notes} is damaged ({error}); make it again with --update.") from error
    return Observation(facts, one.prints, encoder, outputs), ()


def _read_notes(file: Path) -> dict[str, Any]:
    try:
        text = read_regular(file, _MOST_BYTES)
        if len(text) > _MOST_BYTES:
            raise ValueError("it is too large")
        content = json.loads(text)
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not the notes file of a baseline ({error}); make it again with --update.") from error
    return content


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
    facts = facts_without_file(entry.name, entry.path, entry.sha256, entry.encoder)
    prints = np.array(read_prints(place.path, [entry.stem], space.protocol)[0])
    maps = None if entry.maps is None else map_array(maps_path(place.path, entry.stem))
    return Observation(facts, prints, None, {}, maps), space.probes(), space.protocol


def try_read_fingerprint(path: Path) -> Fingerprint | OnnxspaceError:
    """The fingerprint in a file, or the error that says why it can't be read."""
    try:
        return read_fingerprint(path)
    except OnnxspaceError as error:
        return error
