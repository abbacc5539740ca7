"""`--threads` of every command that computes with models, and that it reaches the worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import pytest

from onnxspace.checking.sandbox import run_in_child
from onnxspace.cli import cli
from onnxspace.cli.options import threads_option
from onnxspace.errors import ConfigError
from onnxspace.sandbox.limits import Limits
from tests.cli.test_quiet import list_commands
from tests.helpers.commands import exit_code, save_classifiers

#: Commands that open models and compute nothing with them.
OPENING = {"convert", "inspect"}
COMMANDS = dict(list_commands(cli))
COMPUTING = sorted(name for name, command in COMMANDS.items() if {"limits", "bounds"} & {one.name for one in command.params})


def test_every_command_with_a_device_of_maps_or_limits_is_listed() -> None:
    assert {"check", "diff", "explain", "fingerprint", "layers", "score", "space add", "space nearest", "transfer"} <= set(
        COMPUTING
    )


@pytest.mark.parametrize("name", sorted(set(COMPUTING) - OPENING))
def test_a_command_that_computes_has_the_option_in_the_same_words(name: str) -> None:
    @click.command()
    @threads_option
    def other() -> None: ...

    own = [one for one in COMMANDS[name].params if one.name == "threads"]
    assert [one.to_info_dict() for one in own] == [one.to_info_dict() for one in other.params]


@pytest.mark.parametrize(
    "command",
    [
        ("score", "a.onnx", "b.onnx"), ("layers", "a.onnx", "b.onnx"), ("diff", "a.onnx", "b.onnx"), ("fingerprint", "a.onnx", "-o", "a.fp"),
        ("layers", "a.onnx", "b.onnx", "--by", "cka"), ("diff", "a.onnx", "--precision", "int8"), ("transfer", "a.onnx", "--data", "labels.csv"), ("check", "a.onnx", "--against", "b.onnx"),
    ],
    ids=lambda command: command[0],
)  # fmt: skip
def test_the_number_reaches_the_worker(command: tuple[str, ...], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []

    @contextmanager
    def borrow(_tasks: str, _limits: Limits, threads: int = 0) -> Iterator[Any]:
        numbers.append(threads)
        raise ConfigError("enough.")
        yield

    def make_worker(_tasks: str, _limits: Limits, threads: int = 0) -> Any:
        numbers.append(threads)
        raise ConfigError("enough.")

    monkeypatch.setattr("onnxspace.workflows.session.borrow_worker", borrow)
    monkeypatch.setattr("onnxspace.checking.observe.run_in_child", run_in_child)
    monkeypatch.setattr("onnxspace.checking.sandbox.Worker", make_worker)
    monkeypatch.chdir(save_classifiers(tmp_path, "ab"))
    (tmp_path / "labels.csv").write_text("path,label\n0.png,a\n1.png,b\n")
    from PIL import Image

    for number in range(2):
        Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / f"{number}.png")
    assert exit_code(*command, "--quiet", "--threads", "3") == 2
    assert set(numbers) == {3}
