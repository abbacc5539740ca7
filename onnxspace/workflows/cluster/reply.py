"""What a task gives back in place of a result: an error in words, of a kind that the asking side makes again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from onnxspace import errors
from onnxspace.errors import ClusterError, OnnxspaceError

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Refused:
    """An error of the family: its class, number of the operating system (None: not one of its errors), and sentence."""

    kind: str
    number: int | None
    words: str


def answering(function: _Function) -> _Function:
    """Let a task give `Refused` where it would raise an error of the family."""

    @wraps(function)
    def answered(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except OnnxspaceError as error:
            return Refused(type(error).__name__, getattr(error, "errno", None), str(error.args[-1] if error.args else error))

    return answered  # type: ignore[return-value]


def refusal(answer: Refused) -> OnnxspaceError:
    """The error again."""
    kind = getattr(errors, answer.kind, ClusterError)
    made: OnnxspaceError = kind(answer.words) if answer.number is None else kind(answer.number, answer.words)
    return made
