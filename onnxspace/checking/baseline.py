"""What an artifact is held against: another file, a fingerprint with what was noted beside it, or a model of a space."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onnxspace.checking.observation import Observation, Signal, facts_dict, named, read_facts
from onnxspace.errors import ConfigError, ModelError, OnnxspaceError, SpaceError
from onnxspace.inputs.names import is_print
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Protocol
from onnxspace.similarity.fingerprints.file import Fingerprint, read_fingerprint, write_fingerprint
from onnxspace.storage.atomic import whole_file

SCHEMA = "onnxspace/baseline/1"
NOTES = ".json"
_MOST_BYTES = 2**26


@dataclass(frozen=True)
class Against:
    """Where a baseline is: `kind` says of what sort `path` is; `name` is the model of a space."""

    kind: Literal["model", "print", "space"]
    path: Path
    name: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.kind == "space" else str(self.path)


def against(text: str) -> Against:
    """`old.onnx`, `old.fp` or `zoo.space:name`. Raises ConfigError for anything else."""
    folder, colon, name = text.rpartition(":")
    if colon and name and Path(folder).is_dir():
        return Against("space", Path(folder), name)
    if is_print(Path(text)):
        return Against("print", Path(text))
    if Path(text).is_dir():
        raise ConfigError(f"{text} is a folder; name a model of a space as {text}:NAME.")
    return Against("model", Path(text))


def notes_of(path: Path) -> Path:
    """The file beside a fingerprint that holds what else was noted."""
    return path.with_suffix(NOTES)


def write_baseline(path: Path, found: Observation, protocol: Protocol) -> None:
    """Write `NAME.fp`, and `NAME.json` beside it: facts of the file, and what it gives in a few numbers per image.

    Each is written whole or not at all; notes that don't belong to their fingerprint are not used. Raises OutputError.
    """
    facts = found.facts
    with whole_file(path) as partial:
        write_fingerprint(partial, Fingerprint(
            facts.name, facts.sha256, facts.encoder, protocol.method, protocol.probe, protocol.size, protocol.sha256, found.prints, protocol.sketch,
            protocol.print_options(), protocol.sketch_version,
        ))  # fmt: skip
    notes: dict[str, Any] = {"schema": SCHEMA, "facts": {**facts_dict(facts), "path": Path(facts.path).name}}
    if found.encoder is not None:
        notes["encoder"] = found.encoder.to_dict()
    notes["outputs"] = {name: signal.to_dict() for name, signal in found.outputs.items()}
    with whole_file(notes_of(path)) as partial:
        partial.write_text(json.dumps(notes, indent=1) + "\n", "utf-8")


def read_baseline(path: Path, one: Fingerprint) -> tuple[Observation, tuple[str, ...]]:
    """A fingerprint with its notes, and what is to be said of them. Raises ModelError for notes that are broken."""
    bare = named(one.name, str(path), one.sha256, one.encoder)
    notes = notes_of(path)
    if not notes.exists():
        return Observation(bare, one.prints, None, {}), (f"{path} has no notes beside it, so that maps alone are compared.",)
    told = _json(notes)
    facts = read_facts(told.get("facts", {}), notes)
    if facts.sha256 != one.sha256:
        return Observation(bare, one.prints, None, {}), (f"{notes} is of another model than {path}, and is not used.",)
    try:
        encoder = Signal.read(told["encoder"]) if "encoder" in told else None
        outputs = {str(name): Signal.read(signal) for name, signal in told["outputs"].items()}
        if any(len(signal.lengths) != one.images for signal in (*outputs.values(), *([encoder] if encoder else []))):
            raise ValueError("its numbers of images differ")
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{notes} is damaged ({error}); make it again with --update.") from error
    return Observation(facts, one.prints, encoder, outputs), ()


def _json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        told = json.loads(file.read_text("utf-8"))
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            raise ValueError(f"its schema is not {SCHEMA}")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} is no notes of a baseline ({error}); make it again with --update.") from error
    return told


def from_space(place: Against) -> tuple[Observation, Probes, Protocol]:
    """A model of a space, with the images and the method of the space. Raises SpaceError."""
    from onnxspace.spaces.layout import maps_path, read_prints
    from onnxspace.workflows.space import Space

    space = Space.open(place.path)
    entry = next((one for one in space.entries() if one.name == place.name), None)
    if entry is None:
        raise SpaceError(f"{place.path} has no model called {place.name!r}; there are {', '.join(space.names[:20]) or 'none'}.")
    facts = named(entry.name, entry.path, entry.sha256, entry.encoder)
    prints = np.array(read_prints(place.path, [entry.stem], space.protocol)[0])
    maps = None if entry.maps is None else np.load(maps_path(place.path, entry.stem), mmap_mode="r", allow_pickle=False)
    return Observation(facts, prints, None, {}, maps), space.probes(), space.protocol


def read_print(path: Path) -> Fingerprint | OnnxspaceError:
    """A fingerprint, or why it can't be read."""
    try:
        return read_fingerprint(path)
    except OnnxspaceError as error:
        return error
