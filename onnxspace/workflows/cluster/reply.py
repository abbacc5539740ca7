"""Errors of a task as values: a worker returns them instead of raising, and the client raises them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

from onnxspace import errors
from onnxspace.errors import ClusterError, OnnxspaceError

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Refusal:
    """An OnnxspaceError as a value: the name of its class, its errno (None where it has none), and its message."""

    error_class: str
    number: int | None
    message: str


def return_errors(function: _Function) -> _Function:
    """Decorate a task so that it returns a `Refusal` where it would raise an OnnxspaceError."""

    @wraps(function)
    def task(*arguments: Any, **named: Any) -> Any:
        try:
            return function(*arguments, **named)
        except OnnxspaceError as error:
            return Refusal(type(error).__name__, getattr(error, "errno", None), str(error.args[-1] if error.args else error))

    return task  # type: ignore[return-value]


def to_error(reply: Refusal) -> OnnxspaceError:
    """Return the error that a `Refusal` stands for."""
    error_class = getattr(errors, reply.error_class, ClusterError)
    error: OnnxspaceError = error_class(reply.message) if reply.number is None else error_class(reply.number, reply.message)
    return error
