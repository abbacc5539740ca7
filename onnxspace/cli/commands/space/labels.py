"""The command that labels models of a space."""

from __future__ import annotations

from collections.abc import Sequence

import click

from onnxspace.cli.commands.space.group import open_space, place_argument, space, where_option
from onnxspace.cli.console import print_note
from onnxspace.cli.options import quiet_option
from onnxspace.storage.short_text import count


class _SignedWords(click.Command):
    """A command among whose words are some that begin with one hyphen, and are no options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        words = [word for word in args[:end] if _is_taken_away(word)]
        rest = [word for word in args[:end] if not _is_taken_away(word)]
        return super().parse_args(ctx, [*rest, "--", *words, *args[end + 1 :]])


def _is_taken_away(word: str) -> bool:
    return len(word) > 1 and word[0] == "-" and word[1] != "-" and word != "-h"


@space.command(cls=_SignedWords)
@place_argument
@click.argument("words", nargs=-1, metavar="NAME... [+TAG] [-TAG]...")
@where_option
@click.option("--license", metavar="NAME", help="State the licence too.")
@quiet_option
def tag(place: str, words: tuple[str, ...], where: tuple[str, ...], license: str | None, quiet: bool) -> None:  # noqa: A002
    """Add tags to models, written +TAG, and take others away, written -TAG.

    The models are named, or chosen by --where. A tag is a word, or KEY=VALUE. Exit code 2 if a set of probe images is damaged; those
    of the others have their labels.
    """
    names, signed = _split(words)
    if not (signed or license) or bool(names) == bool(where):
        raise click.UsageError("name models or choose them with --where, and tags as +TAG or -TAG.")
    opened = open_space(place, where)
    add, remove = ([word[1:] for word in signed if word[0] == sign] for sign in "+-")
    chosen = names or opened.names
    changed = opened.tag(chosen, add, remove, license=license)
    print_note(f"changed the labels of {changed} of {count(len(chosen), 'model')}", quiet=quiet)


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of models, and tags with their signs."""
    signed = [word for word in words if word[:1] in ("+", "-") and len(word) > 1]
    return [word for word in words if word not in signed], signed
