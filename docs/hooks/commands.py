"""The tables of options of the command pages, from the commands themselves, so that they can't be out of date.

A page has `<!-- options: score -->` where the table of `onnxspace score` belongs; `<!-- options: space -->` stands for all
commands of the group.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from onnxspace.cli import cli

MARK = re.compile(r"<!-- options: ([a-z]+) -->")


def render_options(name: str) -> str:
    """Usage, help and options of the command `onnxspace NAME` as Markdown; of a group, of each of its commands."""
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise KeyError(f"there is no command {name!r}")
    if not isinstance(command, click.Group):
        return _render_command(f"onnxspace {name}", command, 0)
    return "\n".join(_render_command(f"onnxspace {name} {one}", sub, 3) for one, sub in command.commands.items())


def _render_command(path: str, command: click.Command, level: int) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    head = f"{'#' * level} `{path}`\n\n" if level else ""
    rows = "\n".join(f"| {_escape(names)} | {_escape_text(text)} |" for names, text in list_options(command))
    table = f"| option | meaning |\n|---|---|\n{rows}\n"
    return f"{head}```text\n{usage}\n```\n\n{_join_paragraphs(command.help or '')}\n\n{table}"


def list_options(command: click.Command) -> Iterator[tuple[str, str]]:
    """Names with their value, and the meaning, of each option as `--help` has them."""
    context = click.Context(command, help_option_names=[])
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None:
            yield record


def _escape(names: str) -> str:
    """As code; a long list of choices is one of words, between which lines may break."""
    option, _, choices = names.partition(" ")
    if len(names) < 60:
        return _as_code(names)
    return f"{_as_code(option)} " + ", ".join(_as_code(one) for one in choices.strip("[]").split("|"))


def _as_code(text: str) -> str:
    return f"<code>{text.replace('|', '&#124;')}</code>"  # a bar would end the cell


def _escape_text(text: str) -> str:
    text = re.sub(r" \[0<=x<=\d{10,}\]|; 0<=x<=\d{10,}(?=\])", "", text)  # any whole number
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _join_paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text).split("\n\n"))
