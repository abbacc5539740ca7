"""Outcomes of commands that must be one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]


def refused(outcome: Outcome, *words: str) -> None:
    """One line on stderr, printable, with these words; exit code 2; nothing on stdout."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert_sentence(outcome.err, *words)


def assert_sentence(text: str, *words: str) -> None:
    assert text.startswith("onnxspace: ")
    assert text.endswith((".\n", "?\n"))
    assert text.count("\n") == 1
    assert text[:-1].isprintable()
    assert "Traceback" not in text
    for word in words:
        assert word in text


def constant_parser(name: str) -> NoReturn:
    raise AssertionError(f"{name} in JSON")


def parsed(text: str) -> dict[str, list[dict[str, str]]]:
    """JSON as the standard has it, without NaN."""
    found: dict[str, list[dict[str, str]]] = json.loads(text, parse_constant=constant_parser)
    return found
