"""Labels of a model: where it comes from, its licence, and the tags that a team gives it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from onnxspace.errors import ConfigError
from onnxspace.storage.json_fields import is_text, require
from onnxspace.storage.printable import escape_surrogates, make_printable

MOST_TAGS, _MOST_WORDS, _MOST_SOURCE = 100, 200, 2_000
#: Words by which `--where` names what a space knows of every model; no tag may be called like one.
KEYS = ("name", "path", "source", "sha256", "encoder", "producer", "framework", "license", "tag", "added", "kind")
_TAG = re.compile(r"[^\W_][\w.:/@+-]{0,99}(?:=[\w.:/@+-]{1,100})?")
_FRAMEWORKS = {
    "pytorch": "pytorch", "tf2onnx": "tensorflow", "keras2onnx": "keras", "skl2onnx": "scikit-learn", "paddlepaddle": "paddle",
    "paddle2onnx": "paddle", "jax2onnx": "jax", "cntk": "cntk", "coremltools": "coreml", "onnxmltools": "onnxmltools",
}  # fmt: skip
STATED = "stated"


@dataclass(frozen=True)
class Labels:
    """What is said about a model beside what its file computes; empty where nothing is.

    `source` is a name at a provider, an address, or the file that it was converted from; `framework` and `producer` are what trained
    and what wrote it. `license` is its licence, best an SPDX identifier, and `license_from` where that is written, `stated` where a
    user stated it. `tags` are words, or `key=value`.
    """

    source: str = ""
    framework: str = ""
    producer: str = ""
    license: str = ""
    license_from: str = ""
    tags: tuple[str, ...] = ()

    def over(self, other: Labels) -> Labels:
        """Return these labels, with those of `other` where these are empty; tags of both, and a licence that is stated counts.

        >>> Labels(license="mit", tags=("a",)).over(Labels(source="hf:x/y", tags=("b",))).tags
        ('a', 'b')
        """
        own = self if self.license and (self.license_from == STATED or not other.license) else other
        chosen = {name: getattr(self, name) or getattr(other, name) for name in ("source", "framework", "producer")}
        licensed = own if own.license else self
        tags = tuple(dict.fromkeys((*self.tags, *other.tags)))[:MOST_TAGS]
        return Labels(**chosen, license=licensed.license, license_from=licensed.license_from, tags=tags)

    def to_dict(self) -> dict[str, Any]:
        """Return what is not empty, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items() if value}


def state_labels(license: str | None = None, tags: str | Sequence[str] = ()) -> Labels:  # noqa: A002
    """Return labels that a user states. Raises ValueError with the reason.

    >>> state_labels("apache-2.0", ["team=vision"]).tags
    ('team=vision',)
    """
    word = "" if license is None else parse_license(license)
    return Labels(license=word, license_from=STATED if word else "", tags=parse_tags([tags] if isinstance(tags, str) else tags))


def accept_labels(license: str | None, tags: str | Sequence[str]) -> Labels:  # noqa: A002
    """Return labels that a caller states, as `state_labels` does. Raises ConfigError with the reason."""
    try:
        return state_labels(license, tags)
    except ValueError as error:
        raise ConfigError(f"{error}.") from error


def parse_license(text: Any) -> str:
    """Return a licence in one line. Raises ValueError."""
    if not isinstance(text, str) or not 0 < len(word := make_printable(escape_surrogates(text))) <= _MOST_WORDS:
        raise ValueError(f"a licence is a text of up to {_MOST_WORDS} characters, such as apache-2.0")
    return word


def parse_tags(tags: Iterable[Any]) -> tuple[str, ...]:
    """Return tags, each once, in their order. Raises ValueError for one that is no word or `key=value`, and for too many."""
    found = tuple(dict.fromkeys(tags))
    for tag in found:
        if not isinstance(tag, str) or _TAG.fullmatch(tag) is None:
            raise ValueError(f"{str(tag)[:100]!r} is no tag: a word such as detector, or team=vision, without blanks")
        if tag.partition("=")[0].lower() in KEYS:
            raise ValueError(f"{tag!r} is no tag, since every model has a {tag.partition('=')[0]}; choose another word")
    if len(found) > MOST_TAGS:
        raise ValueError(f"a model has up to {MOST_TAGS} tags")
    return found


def parse_labels(value: Any) -> Labels:
    """Read labels from untrusted JSON, ignoring other keys. Raises ValueError."""
    require(isinstance(value, dict), "labels")
    given = {one.name: value[one.name] for one in fields(Labels) if one.name in value}
    tags = given.pop("tags", [])
    require(isinstance(tags, list), "tags")
    for name, text in given.items():
        require(is_text(text, _MOST_SOURCE if name == "source" else _MOST_WORDS), name)
    return Labels(**given, tags=parse_tags(tags))


def truncate_labels(labels: Labels) -> Labels:
    """Return labels that a file states, in one line each and of limited length."""

    def shorten(text: str, most: int = _MOST_WORDS) -> str:
        return make_printable(escape_surrogates(text))[:most]

    return replace(
        labels, source=shorten(labels.source, _MOST_SOURCE), framework=shorten(labels.framework), producer=shorten(labels.producer),
        license=shorten(labels.license), license_from=shorten(labels.license_from),
    )  # fmt: skip


def find_framework(producer: str) -> str:
    """Return the framework whose exporter is called `producer`, in small letters; empty for an unknown one.

    >>> find_framework("pytorch 2.6.0")
    'pytorch'
    """
    first = producer.lower().replace("-", " ").partition(" ")[0]
    return next((name for word, name in _FRAMEWORKS.items() if first.startswith(word)), "")
