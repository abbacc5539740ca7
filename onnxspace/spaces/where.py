"""Choosing models of a space by what is known of them: `license=apache-2.0 and tag=detector`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice

from onnxspace.errors import ConfigError
from onnxspace.inputs.labels import KEYS
from onnxspace.inputs.nearest_names import describe_unknown
from onnxspace.spaces.schema import CatalogueEntry
from onnxspace.storage.printable import shorten

#: Is called with a sentence.
Note = Callable[[str], None]
_MOST_TEXT, _MOST_CLAUSES, _MOST_COMPARED = 4_000, 100, 10_000
_TOKEN = re.compile(r"""\s*(?:(?P<quoted>"[^"]*"|'[^']*')|(?P<sign>!=|<=|>=|=|<|>)|(?P<word>[^\s=<>!"']+))""")
_ORDERS: dict[str, Callable[[str, str], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_EXAMPLE = 'Write it like --where "license=apache-2.0 and tag=detector".'


@dataclass(frozen=True)
class Clause:
    """A comparison: what is known under `key`, a `sign`, and a `value`, in which `*` stands for any characters."""

    key: str
    sign: str
    value: str

    def holds(self, values: Sequence[str]) -> bool:
        """Return whether one of `values` compares so; with `!=`, whether none is equal. An empty value stands for none at all."""
        texts, wanted = [value.lower() for value in values if value], self.value.lower()
        if self.sign in _ORDERS:
            return any(_ORDERS[self.sign](text, wanted) for text in texts)
        equal = any(fnmatchcase(text, _as_pattern(wanted)) for text in texts) if wanted else not texts
        return equal == (self.sign == "=")


@dataclass(frozen=True)
class Where:
    """A condition: clauses of which all hold, in alternatives of which one does, for each of the given texts.

    Where it holds for no model, `note` is called with a sentence for each value that no model has.
    """

    conditions: tuple[tuple[tuple[Clause, ...], ...], ...]
    note: Note | None = field(default=None, compare=False)

    def select(self, entries: Sequence[CatalogueEntry]) -> tuple[CatalogueEntry, ...]:
        """Return the models for which the condition holds. Raises ConfigError for a key that no model has."""
        self._check_keys(entries)
        found = tuple(entry for entry in entries if self._holds(entry))
        if not found and entries and self.note is not None:
            for sentence in self._describe_values(entries):
                self.note(sentence)
        return found

    def _describe_values(self, entries: Sequence[CatalogueEntry]) -> Iterator[str]:
        """A sentence with the nearest values for each value that is asked for and that no model has."""
        for one in self._list_clauses():
            values = dict.fromkeys(value for entry in entries for value in values_of(entry, one.key) if value)
            if one.sign == "=" and one.value and not one.holds([*values]):
                yield f"--where: {describe_unknown(one.key, one.value, islice(values, _MOST_COMPARED))}"

    def _holds(self, entry: CatalogueEntry) -> bool:
        return all(
            any(all(one.holds(values_of(entry, one.key)) for one in part) for part in parts) for parts in self.conditions
        )

    def _check_keys(self, entries: Sequence[CatalogueEntry]) -> None:
        own = {tag.partition("=")[0].lower() for entry in entries for tag in entry.labels.tags if "=" in tag}
        for one in self._list_clauses():
            if one.key not in KEYS and one.key not in own:
                raise ConfigError(f"--where: {describe_unknown('key', one.key, [*KEYS, *sorted(own)])}")

    def _list_clauses(self) -> Iterator[Clause]:
        return (one for parts in self.conditions for part in parts for one in part)


def values_of(entry: CatalogueEntry, key: str) -> tuple[str, ...]:
    """Return what is known of a model under `key`, one of `KEYS` or the key of a tag `key=value`."""
    labels = entry.labels
    if key == "tag":
        return labels.tags
    if key == "kind":
        return ("maps" if entry.maps is not None else "fingerprint",)
    if key in ("framework", "license"):
        return (getattr(labels, key),)
    if key == "source":
        return (labels.source or entry.path,)
    if key in KEYS:
        return (getattr(entry, key),)
    return tuple(value for name, _, value in (tag.partition("=") for tag in labels.tags) if name.lower() == key)


def parse_where(texts: str | Iterable[str], note: Note | None = None) -> Where:
    """Parse conditions, of which all must hold: comparisons joined by `and`, which binds more than `or`.

    A comparison is `KEY=VALUE`, with `!=` or, for texts in order such as dates, `<`, `<=`, `>`, `>=`; values with blanks stand in
    quotes. `note` is as in `Where`. Raises ConfigError.

    >>> len(parse_where("license=mit or tag=team=vision and added>=2026-01").conditions[0])
    2
    """
    found = tuple(_parse(text) for text in ([texts] if isinstance(texts, str) else texts))
    if sum(len(part) for parts in found for part in parts) > _MOST_CLAUSES:
        raise ConfigError(f"--where has more than {_MOST_CLAUSES} comparisons. Give fewer.")
    return Where(found, note)


def _parse(text: str) -> tuple[tuple[Clause, ...], ...]:
    if len(text) > _MOST_TEXT:
        raise ConfigError(f"--where is longer than {_MOST_TEXT} characters. Give less.")
    parts: list[list[Clause]] = [[]]
    tokens = list(_split(text))
    while True:
        clause, tokens = _take_clause(text, tokens)
        parts[-1].append(clause)
        if not tokens:
            return tuple(map(tuple, parts))
        joint, *tokens = tokens
        if joint.lower() not in ("and", "or"):
            raise ConfigError(
                f"--where {shorten(text, 80)!r}: there is neither `and` nor `or` before {shorten(joint)!r}. {_EXAMPLE}"
            )
        if joint.lower() == "or":
            parts.append([])


def _take_clause(text: str, tokens: list[str]) -> tuple[Clause, list[str]]:
    """The first comparison, and what comes after it."""
    if len(tokens) < 3 or tokens[1] not in ("=", "!=", *_ORDERS):
        raise ConfigError(f"--where {shorten(text, 80)!r} is not a comparison of a key with a value. {_EXAMPLE}")
    key, sign, value, *rest = tokens
    if len(rest) > 1 and rest[0] == "=":  # a tag with a value: tag=team=vision
        value, rest = f"{value}={rest[1].strip(_QUOTES)}", rest[2:]
    return Clause(key.lower(), sign, value.strip(_QUOTES)), rest


_QUOTES = "\"'"


def _split(text: str) -> Iterator[str]:
    place, end = 0, len(text.rstrip())
    while place < end:
        token = _TOKEN.match(text, place)
        if token is None:
            raise ConfigError(f"--where {shorten(text, 80)!r} can't be read from {shorten(text[place:])!r} on. {_EXAMPLE}")
        place = token.end()
        yield token[token.lastgroup or 0]


def _as_pattern(value: str) -> str:
    """The value as a pattern in which `*` alone has a meaning."""
    return value.replace("[", "[[]").replace("?", "[?]")
