"""What a catalogue says: of the whole space, and of each model. Read as from a stranger, written as plain JSON."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.inputs.methods import METHODS, Method, Options, settle
from onnxspace.inputs.probes import MAX_IMAGES
from onnxspace.similarity.affinity import ModelRecord
from onnxspace.similarity.fingerprints.count_sketch import MOST_NUMBERS, NUMBERS, VERSION

MAX_NAME, MAX_TEXT, MAX_ITEMS, MAX_SIZE = 1_000, 10_000, 1_000, 1024
_STEM = re.compile(r"[0-9a-f]{12,64}")
_PLACE = re.compile(r"([0-9a-f]{12,64})(?:\.(0|[1-9][0-9]{0,6}))?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Made:
    """What all models of a space are explained with; it never changes.

    `seed` renders generated images again (None: photos); `stored` says whether the images lie in the space. `options` is
    what the method was told; `baseline` is the SHA-256 of the pixels [size, size, 3] where the baseline is an image file.
    Fingerprints have `numbers` numbers per image, drawn by the seed `sketch`.
    """

    probe: str
    images: int
    size: int
    sha256: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    stored: bool = True
    baseline: str | None = None
    keep_maps: bool = True
    numbers: int = NUMBERS
    sketch: int = 0
    sketch_version: int = VERSION
    version: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Of one file of maps: images, pixels."""
        return self.images, self.size**2

    def probe_facts(self) -> dict[str, Any]:
        return {"name": self.probe, "images": self.images, "size": self.size, "sha256": self.sha256}

    def told(self, baseline: Path | None) -> Options:
        """The method's options again; `baseline` is where its picture lies, if it is one."""
        picture = {} if baseline is None else {"baseline": baseline}
        return Options(**{**self.options, **picture})

    def print_options(self) -> dict[str, Any]:
        """The options as a fingerprint states them: a picture by the SHA-256 of its pixels, which is the same everywhere."""
        picture = {} if self.baseline is None else {"baseline": self.baseline}
        return {**self.options, **picture}


@dataclass(frozen=True)
class Sum:
    """Length in bytes and SHA-256 of a file."""

    length: int
    sha256: str


@dataclass(frozen=True)
class Entry:
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
    prints: Sum
    maps: Sum | None = None
    assumed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    added: str = ""

    @property
    def content(self) -> str:
        """64 hex digits for content and encoder alone, as a fingerprint knows them."""
        return identity(self.sha256, self.encoder, "")

    def record(self) -> ModelRecord:
        return ModelRecord(self.name, self.path, self.sha256, self.encoder, self.input, self.opset, self.producer, self.assumed)


def identity(sha256: str, encoder: str, preprocess: str) -> str:
    """64 hex digits for one model as it is explained: content, where it is cut, and how it is fed."""
    return hashlib.sha256(json.dumps([sha256, encoder, preprocess]).encode()).hexdigest()


def to_json(facts: Made | Entry) -> str:
    return json.dumps(asdict(facts), sort_keys=True, allow_nan=False)


def made_from(text: str) -> Made:
    """Raises ValueError with what is wrong."""
    made = Made(**_known(json.loads(text), Made))
    _need(_text(made.probe, MAX_NAME) and _text(made.version, MAX_NAME), "probe")
    _need(_whole(made.images, 1, MAX_IMAGES) and _whole(made.size, 1, MAX_SIZE), "images or size")
    _need(_sha(made.sha256) and (made.baseline is None or _sha(made.baseline)), "sha256")
    _need(made.seed is None or _whole(made.seed, 0, 2**63 - 1), "seed")
    _need(type(made.stored) is bool and type(made.keep_maps) is bool, "stored or keep_maps")
    _need(_whole(made.numbers, 1, MOST_NUMBERS) and _whole(made.sketch, 0, 2**63 - 1), "numbers or sketch")
    _need(made.sketch_version == VERSION, "sketch_version")
    _check_options(made)
    return made


def _check_options(made: Made) -> None:
    _need(isinstance(made.method, str) and made.method in METHODS, f"method {str(made.method)[:50]!r}")
    _need(isinstance(made.options, dict) and set(made.options) <= {f.name for f in fields(Options)}, "options")
    rules = made.options.get("rules", {})
    _need(isinstance(rules, dict) and all(isinstance(v, str | int | float) for v in rules.values()), "rules")
    _need(_text(made.options.get("baseline", ""), MAX_TEXT), "baseline")
    try:
        settle([made.method], Options(**made.options))
    except ConfigError as error:
        raise ValueError(str(error)) from error


def entry_from(text: str) -> Entry:
    """Raises ValueError with what is wrong."""
    said = _known(json.loads(text), Entry)
    said |= {"maps": None if said.get("maps") is None else _sum(said["maps"]), "prints": _sum(said.get("prints"))}
    said |= {name: _texts(said.get(name, []), name) for name in ("assumed", "warnings")}
    entry = Entry(**said)
    _need(_text(entry.name, MAX_NAME) and entry.name != "", "name")
    _need(isinstance(entry.stem, str) and placed(entry.stem) is not None, "stem")
    _need(entry.maps is None or is_stem(entry.stem), "stem")
    _need(_sha(entry.identity) and _sha(entry.sha256), "sha256")
    for name in ("path", "encoder", "input", "preprocess", "producer", "added"):
        _need(_text(getattr(entry, name), MAX_TEXT), name)
    _need(_whole(entry.opset, 0, 2**31), "opset")
    versions = entry.versions
    _need(
        isinstance(versions, dict) and len(versions) <= MAX_ITEMS and all(_text(v, MAX_NAME) for v in versions.values()),
        "versions",
    )
    return entry


def is_stem(text: str) -> bool:
    return _STEM.fullmatch(text) is not None


def placed(stem: str) -> tuple[str, int | None] | None:
    """The stem of the file, and the row of a sheet (None: the file is the model's own); None for what is no stem."""
    found = _PLACE.fullmatch(stem)
    return None if found is None else (found[1], None if found[2] is None else int(found[2]))


def file_stem(stem: str) -> str:
    """The stem of the file, which other rows of a sheet share."""
    return stem.partition(".")[0]


def _known(said: Any, kind: type[Made] | type[Entry]) -> dict[str, Any]:
    """The fields of a kind; a later version of this format may have more."""
    _need(isinstance(said, dict), "row")
    names = {f.name for f in fields(kind)}
    try:
        kind(**(found := {name: value for name, value in said.items() if name in names}))
    except TypeError as error:
        raise ValueError("a field is missing") from error
    return found


def _sum(said: Any) -> Sum:
    _need(isinstance(said, dict) and _whole(said.get("length"), 0, 2**50) and _sha(said.get("sha256")), "checksum")
    return Sum(said["length"], said["sha256"])


def _texts(said: Any, what: str) -> tuple[str, ...]:
    _need(isinstance(said, list) and len(said) <= MAX_ITEMS and all(_text(text, MAX_TEXT) for text in said), what)
    return tuple(said)


def short(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts within the bounds of a catalogue."""
    return tuple(text[:MAX_TEXT] for text in texts[:MAX_ITEMS])


def _text(said: Any, most: int) -> bool:
    return isinstance(said, str) and len(said) <= most


def _sha(said: Any) -> bool:
    return isinstance(said, str) and _SHA256.fullmatch(said) is not None


def _whole(said: Any, low: int, high: int) -> bool:
    return type(said) is int and low <= said <= high


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"its {what} makes no sense")
