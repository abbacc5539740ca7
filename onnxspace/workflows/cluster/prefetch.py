"""Turns that are started ahead, so that no worker is idle while the next model is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_Started = TypeVar("_Started")
#: A model's path, its name, and the encoder that was asked for.
Turn = tuple[Path, str, str | None]


class Prefetcher(Generic[_Started]):
    """Starts turns some places ahead; an error of `start` is raised when its turn is taken.

    `start` starts a turn, `width` returns how many turns to start ahead.
    """

    def __init__(
        self, turns: Sequence[Turn], start: Callable[[Path, str, str | None], _Started], width: Callable[[], int]
    ) -> None:
        self._turns, self._start, self._width = list(turns), start, width
        self._started: dict[Turn, _Started | Exception] = {}
        self._next = 0

    def take(self, turn: Turn) -> _Started:
        """Return what `start` returned for this turn, after starting the turns ahead of it."""
        last = self._turns.index(turn) + self._width()
        while self._next <= min(last, len(self._turns) - 1):
            one = self._turns[self._next]
            self._next += 1
            try:
                self._started[one] = self._start(*one)
            except Exception as error:  # of another turn, so it is reported at that turn
                self._started[one] = error
        found = self._started.pop(turn)
        if isinstance(found, Exception):
            raise found
        return found
