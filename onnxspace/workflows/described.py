"""The models of a run, opened once before the work, so that what was guessed of them is seen in time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from onnxspace.inputs.execution import Announce
from onnxspace.workflows.requests import DescribedModel

#: A model's path, its name, and the requested encoder.
Turn = tuple[Path, str, str | None]


class DescribedModels:
    """Opens each model once by `prepare`: before the work, where that is announced, or at its turn."""

    def __init__(self, prepare: Callable[[Turn], DescribedModel]) -> None:
        self._prepare = prepare
        self._found: dict[Turn, DescribedModel | Exception] = {}

    def announce(
        self, turns: Sequence[Turn], announce: Announce | None, is_due: Callable[[DescribedModel], bool] | None = None
    ) -> None:
        """Open all models and call `announce` with the records of those that can be opened; nothing without it.

        Models for which `is_due` is false, since nothing is to be computed of them, are not announced.
        """
        if announce is not None:
            for turn in turns:
                self._found[turn] = self._try(turn)
            opened = [found for found in self._found.values() if isinstance(found, DescribedModel)]
            announce([model.record for model in opened if is_due is None or is_due(model)])

    def _try(self, turn: Turn) -> DescribedModel | Exception:
        try:
            return self._prepare(turn)
        except Exception as error:  # raised at its turn, where it concerns no other model
            return error

    def take(self, turn: Turn) -> DescribedModel:
        """Return a model, and forget it. Raises the error of opening it."""
        found = self._found.pop(turn, None)
        if isinstance(found, Exception):
            raise found
        return found or self._prepare(turn)
