"""The table of models and their pixels, printed on standard error before the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from onnxspace.cli.console import print_notes
from onnxspace.cli.text.pixels import keepers_of_size, table, warning

if TYPE_CHECKING:
    from onnxspace.similarity.records import ModelRecord


class PixelTable:
    """Prints the table of a run's models, unless `quiet`, and keeps their records in `models`; the callback `announce` of verbs.

    A table that was printed already, for another set of probe images, is not printed again.
    """

    def __init__(self, *, quiet: bool) -> None:
        self.models: tuple[ModelRecord, ...] = ()
        self._quiet = quiet
        self._printed: list[str] = []

    def __call__(self, models: Sequence[ModelRecord]) -> None:
        self.models = tuple(models)
        rows = list(table(models))
        if not self._quiet and rows != self._printed:
            self._printed = rows
            for line in rows:
                click.echo(line, err=True)
            print_notes((*keepers_of_size(models), *warning(models)))
