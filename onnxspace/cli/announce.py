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
    """Prints the table of a run's models, unless `quiet`, and keeps their records in `models`; the callback `announce` of verbs."""

    def __init__(self, *, quiet: bool) -> None:
        self.models: tuple[ModelRecord, ...] = ()
        self._quiet = quiet

    def __call__(self, models: Sequence[ModelRecord]) -> None:
        self.models = tuple(models)
        if not self._quiet:
            for line in table(models):
                click.echo(line, err=True)
            print_notes((*keepers_of_size(models), *warning(models)))
