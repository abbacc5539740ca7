"""The records of a catalogue: the protocol of the space, and an entry per model, as untrusted JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_args

from onnxspace.errors import ConfigError
from onnxspace.inputs.labels import Labels, parse_labels
from onnxspace.inputs.methods import METHODS, Options, check_target, resolve_settings
from onnxspace.inputs.pixel_record import PixelRecord, parse_pixel_record
from onnxspace.inputs.precision import PRECISION, is_stated_well
from onnxspace.inputs.probes import MAX_IMAGES
from onnxspace.inputs.protocol import (
    MAX_ITEMS,
    MAX_NAME,
    MAX_SIZE,
    MAX_SKETCH_NUMBERS,
    MAX_TEXT,
    SKETCH_VERSION,
    TARGET,
    Detail,
    Protocol,
)
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
class Part:
    """A part of a file: where it begins, its length in bytes, and its SHA-256."""

    start: int
    length: int
    sha256: str


@dataclass(frozen=True)
class CatalogueEntry:
    """One model. `identity` is a digest of its content, encoder and preprocessing; its files are named after `stem`.

    A stem with a dot and a number, `STEM.7`, is that row of the sheet of fingerprints `prints/STEM.npy`, and `prints` is then
    the length and checksum of this row alone.

    `reduced` is the part of its file that holds features and outputs in little, None where it has none. `maps` is None where only a
    fingerprint is kept; `preprocess` is empty for a model added as a fingerprint. `pixels` says where the preprocessing comes from;
    None for a model that an earlier version added, or whose fingerprint an earlier version wrote. `labels` are in a table of their own.
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
    reduced: Part | None = None
    pixels: PixelRecord | None = None
    labels: Labels = field(default_factory=Labels)

    @property
    def content(self) -> str:
        """64 hex digits that identify content and encoder alone, which is all a fingerprint states."""
        return identity_of(self.sha256, self.encoder, "")

    def record(self) -> ModelRecord:
        """Return the entry as a compared model."""
        return ModelRecord(
            self.name, self.path, self.sha256, self.encoder, self.input, self.opset, self.producer, self.assumed, self.pixels
        )


def identity_of(sha256: str, encoder: str, preprocess: str) -> str:
    """Return 64 hex digits that identify a model by the checksum of its file, its encoder and its preprocessing."""
    return hashlib.sha256(json.dumps([sha256, encoder, preprocess]).encode()).hexdigest()


def to_json(facts: Protocol | CatalogueEntry) -> str:
    """Serialise a record as JSON with sorted keys."""
    values = {name: value for name, value in asdict(facts).items() if name != "labels"}
    return json.dumps(values, sort_keys=True, allow_nan=False)


def parse_protocol(text: str) -> Protocol:
    """Parse and validate the protocol of a space. Raises ValueError with the reason."""
    protocol = Protocol(**_fields_of(json.loads(text), Protocol))
    require(is_text(protocol.probe, MAX_NAME) and is_text(protocol.version, MAX_NAME), "probe")
    require(is_whole(protocol.images, 1, MAX_IMAGES) and is_whole(protocol.size, 1, MAX_SIZE), "images or size")
    require(is_sha256(protocol.sha256) and (protocol.baseline is None or is_sha256(protocol.baseline)), "sha256")
    require(protocol.seed is None or is_whole(protocol.seed, 0, 2**63 - 1), "seed")
    require(type(protocol.stored) is bool and type(protocol.keep_maps) is bool, "stored or keep_maps")
    require(is_whole(protocol.numbers, 1, MAX_SKETCH_NUMBERS) and is_whole(protocol.sketch, 0, 2**63 - 1), "numbers or sketch")
    require(protocol.sketch_version == SKETCH_VERSION, "sketch_version")
    require(protocol.detail in get_args(Detail), "detail")
    _check_options(protocol)
    return protocol


def _check_options(protocol: Protocol) -> None:
    require(isinstance(protocol.method, str) and protocol.method in METHODS, f"method {str(protocol.method)[:50]!r}")
    known = {TARGET, PRECISION, *(f.name for f in fields(Options))}
    require(isinstance(protocol.options, dict) and set(protocol.options) <= known, "options")
    require(is_stated_well(protocol.options), "precision")
    rules = protocol.options.get("rules", {})
    require(isinstance(rules, dict) and all(isinstance(v, str | int | float) for v in rules.values()), "rules")
    require(is_text(protocol.options.get("baseline", ""), MAX_TEXT), "baseline")
    try:
        resolve_settings([protocol.method], protocol.options_with(None))
        check_target(protocol.method, protocol.target)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def parse_entry(text: str) -> CatalogueEntry:
    """Parse and validate the entry of a model. Raises ValueError with the reason."""
    values = _fields_of(json.loads(text), CatalogueEntry)
    values["maps"] = None if values.get("maps") is None else _read_checksum(values["maps"])
    values["prints"] = _read_checksum(values.get("prints"))
    values["reduced"] = None if values.get("reduced") is None else _read_part(values["reduced"])
    values |= {name: _read_texts(values.get(name, []), name) for name in ("assumed", "warnings")}
    entry = CatalogueEntry(**values | {"pixels": parse_pixel_record(values.get("pixels"))})
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


def parse_label_facts(text: str) -> Labels:
    """Parse and validate the labels of a model. Raises ValueError with the reason."""
    return parse_labels(json.loads(text))


def is_stem(text: str) -> bool:
    """Return whether `text` is the stem of a file: 12 to 64 hexadecimal digits."""
    return _STEM.fullmatch(text) is not None


def split_stem(stem: str) -> tuple[str, int | None] | None:
    """Split `stem` into the stem of its file and the row of a sheet (None: a file of its own); None for an invalid stem.

    >>> split_stem("0123456789ab.7")
    ('0123456789ab', 7)
    """
    found = _PLACE.fullmatch(stem)
    return None if found is None else (found[1], None if found[2] is None else int(found[2]))


def file_stem(stem: str) -> str:
    """Return the stem of the file of `stem`, which all rows of a sheet share."""
    return stem.partition(".")[0]


def _fields_of(record: Any, kind: type[Protocol] | type[CatalogueEntry]) -> dict[str, Any]:
    """The fields of `kind`, ignoring others, which a later version of this format may have."""
    require(isinstance(record, dict), "row")
    names = {f.name for f in fields(kind)} - {"labels"}
    try:
        kind(**(found := {name: value for name, value in record.items() if name in names}))
    except TypeError as error:
        raise ValueError("a field is missing") from error
    return found


def _read_checksum(value: Any) -> Checksum:
    require(isinstance(value, dict) and is_whole(value.get("length"), 0, 2**50) and is_sha256(value.get("sha256")), "checksum")
    return Checksum(value["length"], value["sha256"])


def _read_part(value: Any) -> Part:
    found = _read_checksum(value)
    require(is_whole(value.get("start"), 0, 2**50), "reduced")
    return Part(value["start"], found.length, found.sha256)


def _read_texts(value: Any, what: str) -> tuple[str, ...]:
    require(isinstance(value, list) and len(value) <= MAX_ITEMS and all(is_text(text, MAX_TEXT) for text in value), what)
    return tuple(value)


def truncate(texts: Sequence[str]) -> tuple[str, ...]:
    """Truncate `texts` to the limits of a catalogue."""
    return tuple(text[:MAX_TEXT] for text in texts[:MAX_ITEMS])
