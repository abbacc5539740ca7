"""The option --seed, in words that say what it draws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])
#: For commands with probe images, which are generated or photos.
PROBE_SEED = "Number that the generated images, or the sample of the photos, are drawn by"


class _Seed(click.types.IntParamType):
    """A number from 0 to `most`; unlike that of click, its help does not print the range."""

    def __init__(self, most: int) -> None:
        self._range = click.IntRange(0, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return int(self._range.convert(value, param, ctx))


def seed_option(words: str, default: int | None = 0, most: int = 2**63 - 1) -> Callable[[_Function], _Function]:
    """The option; `words` say what the number draws, and `default` is None where the command must know whether it is given."""
    return click.option("--seed", type=_Seed(most), metavar="N", default=default, help=f"{words} [default: 0].")
