"""--quiet is an option of every command, and silences the same everywhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from onnxspace.cli import cli as program
from tests.helpers.sentences import Cli

WORDS = "No progress, notes or warnings; results and errors are printed."


def list_commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree with its words."""
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        assert command is not None
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{name}{word} ")
        else:
            yield f"{name}{word}", command


COMMANDS = dict(list_commands(program))


def test_the_tree_is_whole() -> None:
    assert {"score", "completion", "space create", "space tag", "space compact"} < COMMANDS.keys()
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet_in_the_same_words(name: str) -> None:
    options = [one for one in COMMANDS[name].params if isinstance(one, click.Option) and "--quiet" in one.opts]
    assert [one.help for one in options] == [WORDS]


#: Commands in an order in which they work, of which those that print on standard error without --quiet have words of it.
SESSION = {
    "inspect good.onnx": "",
    "fingerprint good.onnx -o good.fp --images 2": "good.fp: ",
    "explain good.onnx photo.png -o maps.png": "assumed for good",
    "score good.onnx fine.onnx --images 2": "the range of pixels is guessed",
    "layers good.onnx fine.onnx --images 3": "assumed for good",
    "check good.onnx --against fine.onnx --images 2": "",
    "space create zoo.space --images 2 --probe broken --skip-broken": "bad.png",
    "space add zoo.space good.onnx fine.onnx": "added good",
    "space list zoo.space": "",
    "space list zoo.space --where kind=mapz": "did you mean maps?",
    "space tag zoo.space good +new": "changed the labels of 1 of 1 model",
    "space probes zoo.space": "",
    "space rank zoo.space good": "",
    "space export zoo.space -o prints": "2 fingerprints in prints",
    "space nearest zoo.space good": "",
    "space verify zoo.space": "",
    "space remove zoo.space good": "removed good",
    "space compact zoo.space": "",
    "report zoo.space -o page.html": "",
    "completion bash": "",
}


@pytest.mark.process
def test_a_quiet_session_prints_results_alone(cli: Cli, tmp_path: Path) -> None:
    draw_photos(tmp_path)
    for command, noted in SESSION.items():
        loud = cli(*command.split())
        assert noted in loud.err, command
    shutil.rmtree("zoo.space")
    shutil.rmtree("prints")
    for command in SESSION:
        quiet = cli(*command.split(), "--quiet")
        assert quiet.err == "", command
        assert quiet.code in (0, 1), command


def test_errors_are_printed_all_the_same(cli: Cli) -> None:
    for command in (
        "inspect none.onnx",
        "space list none.space",
        "space remove none.space a",
        "score good.onnx fine.onnx --by x",
    ):
        found = cli(*command.split(), "--quiet")
        assert (found.code, found.out) == (2, "")
        assert found.err


def draw_photos(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    (folder / "broken").mkdir()
    (folder / "broken/bad.png").write_bytes(b"no image")
    for name in ("photo", "broken/a", "broken/b"):
        pixels = np.random.default_rng(len(name) + ord(name[-1])).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
