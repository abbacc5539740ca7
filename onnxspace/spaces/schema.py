"""What a catalogue says: of the whole space, and of each model. Read as from a stranger, written as plain JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import METHODS, Options, resolve_settings
from onnxspace.inputs.probes import MAX_IMAGES
from onnxspace.inputs.protocol import MAX_ITEMS, MAX_NAME, MAX_SIZE, MAX_SKETCH_NUMBERS, MAX_TEXT, SKETCH_VERSION, Protocol
from onnxspace.similarity.records import ModelRecord
from onnxspace.storage.json_fields import is_sha256, is_text, is_whole, require

_STEM = re.compile(r"[0-9a-f]{12,64}")
_PLACE = re.compile(r"([0-9a-f]{12,64})(?:\.(0|[1-9][0-9]{0,6}))?")


@dataclass(frozen=True)
class Checksum:
    """Length in bytes and SHA-256 of a file."""

    length: int
    sha256: str


@dataclass(frozen=True)
class CatalogueEntry:
    """One model. `identity` stands for its content, encoder and preprocessing; its files are named after `stem`.

    A stem with a point and a number, `STEM.7`, is the row of that number of the sheet of fingerprints `prints/STEM.npy`, and
    `prints` is then the length and checksum of this row alone.

    `maps` is None where only a fingerprint is kept; `preprocess` is empty where the model came as one.
    """

    name: str
    stem: str
    identity: str
    sha256: str
    path: str
    encoder: str
    input: str
    preprocess: str
    opset: int
    producer: str
    prints: Checksum
    maps: Checksum | None = None
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    added: str = ""

    @property
    def content(self) -> str:
        """64 hex digits for content and encoder alone, as a fingerprint knows them."""
        return identity_of(self.sha256, self.encoder, "")

    def record(self) -> ModelRecord:
        return ModelRecord(self.name, self.path, self.sha256, self.encoder, self.input, self.opset, self.producer, self.assumed)


def identity_of(sha256: str, encoder: str, preprocess: str) -> str:
    """64 hex digits for one model as it is explained: content, where it is cut, and how it is fed."""
    return hashlib.sha256(json.dumps([sha256, encoder, preprocess]).encode()).hexdigest()


def to_json(facts: Protocol | CatalogueEntry) -> str:
    return json.dumps(asdict(facts), sort_keys=True, allow_nan=False)


def parse_protocol(text: str) -> Protocol:
    """Raises ValueError with what is wrong."""
    protocol = Protocol(**_fields_of(json.loads(text), Protocol))
    require(is_text(protocol.probe, MAX_NAME) and is_text(protocol.version, MAX_NAME), "probe")
    require(is_whole(protocol.images, 1, MAX_IMAGES) and is_whole(protocol.size, 1, MAX_SIZE), "images or size")
    require(is_sha256(protocol.sha256) and (protocol.baseline is None or is_sha256(protocol.baseline)), "sha256")
    require(protocol.seed is None or is_whole(protocol.seed, 0, 2**63 - 1), "seed")
    require(type(protocol.stored) is bool and type(protocol.keep_maps) is bool, "stored or keep_maps")
    require(is_whole(protocol.numbers, 1, MAX_SKETCH_NUMBERS) and is_whole(protocol.sketch, 0, 2**63 - 1), "numbers or sketch")
    require(protocol.sketch_version == SKETCH_VERSION, "sketch_version")
    _check_options(protocol)
    return protocol


def _check_options(protocol: Protocol) -> None:
    require(isinstance(protocol.method, str) and protocol.method in METHODS, f"method {str(protocol.method)[:50]!r}")
    require(isinstance(protocol.options, dict) and set(protocol.options) <= {f.name for f in fields(Options)}, "options")
    rules = protocol.options.get("rules", {})
    require(isinstance(rules, dict) and all(isinstance(v, str | int | float) for v in rules.values()), "rules")
    require(is_text(protocol.options.get("baseline", ""), MAX_TEXT), "baseline")
    try:
        resolve_settings([protocol.method], Options(**protocol.options))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def parse_entry(text: str) -> CatalogueEntry:
    """Raises ValueError with what is wrong."""
    said = _fields_of(json.loads(text), CatalogueEntry)
    said |= {"maps": None if said.get("maps") is None else _read_checksum(said["maps"]), "prints": _read_checksum(said.get("prints"))}
    said |= {name: _read_texts(said.get(name, []), name) for name in ("assumed", "warnings")}
    entry = CatalogueEntry(**said)
    require(is_text(entry.name, MAX_NAME) and entry.name != "", "name")
    require(isinstance(entry.stem, str) and split_stem(entry.stem) is not None, "stem")
    require(entry.maps is None or is_stem(entry.stem), "stem")
    require(is_sha256(entry.identity) and is_sha256(entry.sha256), "sha256")
    for name in ("path", "encoder", "input", "preprocess", "producer", "added"):
        require(is_text(getattr(entry, name), MAX_TEXT), name)
    require(is_whole(entry.opset, 0, 2**31), "opset")
    versions = entry.versions
    require(
        isinstance(versions, dict) and len(versions) <= MAX_ITEMS and all(is_text(v, MAX_NAME) for v in versions.values()),
        "versions",
    )
    return entry


def is_stem(text: str) -> bool:
    return _STEM.fullmatch(text) is not None


def split_stem(stem: str) -> tuple[str, int | None] | None:
    """The stem of the file, and the row of a sheet (None: the file is the model's own); None for what is no stem."""
    found = _PLACE.fullmatch(stem)
    return None if found is None else (found[1], None if found[2] is None else int(found[2]))


def file_stem(stem: str) -> str:
    """The stem of the file, which other rows of a sheet share."""
    return stem.partition(".")[0]


def _fields_of(said: Any, kind: type[Protocol] | type[CatalogueEntry]) -> dict[str, Any]:
    """The fields of a kind; a later version of this format may have more."""
    require(isinstance(said, dict), "row")
    names = {f.name for f in fields(kind)}
    try:
        kind(**(found := {name: value for name, value in said.items() if name in names}))
    except TypeError as error:
        raise ValueError("a field is missing") from error
    return found


def _read_checksum(said: Any) -> Checksum:
    require(isinstance(said, dict) and is_whole(said.get("length"), 0, 2**50) and is_sha256(said.get("sha256")), "checksum")
    return Checksum(said["length"], said["sha256"])


def _read_texts(said: Any, what: str) -> tuple[str, ...]:
    require(isinstance(said, list) and len(said) <= MAX_ITEMS and all(is_text(text, MAX_TEXT) for text in said), what)
    return tuple(said)


def truncate(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts within the bounds of a catalogue."""
    return tuple(text[:MAX_TEXT] for text in texts[:MAX_ITEMS])
