"""Progress without a terminal, notes on replaced outputs, completion, and unknown names."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import onnx
import pytest
from PIL import Image

from onnxspace.cli import console
from tests.cli.test_quiet import COMMANDS
from tests.helpers.sentences import Cli


def test_progress_is_a_line_each_half_minute_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter((0.0, 10.0, 31.0, 40.0, 62.0))
    monkeypatch.setattr(console, "INTERVAL", 30.0)
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    with console.progress_bar(enabled=True) as bar:
        for done in range(1, 5):
            bar("a.onnx", done, 9)
    assert capsys.readouterr().err == "a.onnx: 22 % of the work is done\na.onnx: 44 % of the work is done\n"
    with console.progress_bar(enabled=False) as bar:
        bar("a.onnx", 1, 9)
    assert capsys.readouterr().err == ""


def test_a_replaced_output_is_noted(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("target,source,value\nA,a,1\nA,b,2\nB,a,2\nB,b,1\n")
    command = ("evaluate", "--oracle", "t.csv", "--predicted", "t.csv", "--relevant", "1", "--output", "curves.png")
    assert "replaced" not in cli(*command).err
    assert "curves.png was there already, and is replaced." in cli(*command).err
    assert "replaced" not in cli(*command, "--quiet").err
    os.utime("curves.png")
    failed = cli("evaluate", "--oracle", "none.csv", "--predicted", "t.csv", "--output", "curves.png")
    assert failed.code == 2
    assert "replaced" not in failed.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli: Cli, shell: str) -> None:
    found = cli("completion", shell)
    assert found.code == 0
    assert f"_ONNXSPACE_COMPLETE={shell}_complete" in found.out.replace(" ", "")


def test_unknown_names_get_the_nearest(cli: Cli) -> None:
    assert "There is no command 'scoer'; did you mean score" in cli("scoer").err
    assert (
        "--target: there is no model 'godo'; did you mean good?"
        in cli("score", "good.onnx", "fine.onnx", "--target", "godo").err
    )


@pytest.mark.parametrize(
    "command",
    [
        "scoer", "score", "score good.onnx", "score good.onnx fine.onnx --imags 3", "score good.onnx fine.onnx --images x",
        "score good.onnx fine.onnx --method elpr", "check good.onnx", "check good.onnx fine.onnx", "space remove z.space",
        "inspect good.onnx fine.onnx", "explain good.onnx", "diff good.onnx", "diff good.onnx --limits", "evaluate --oracle t.csv",
        "space tag z.space a", "space tag z.space --quite",
    ],
)  # fmt: skip
def test_a_usage_error_is_a_sentence(cli: Cli, command: str) -> None:
    """It is words of ours or of click, which has messages without a full stop."""
    found = cli(*command.split())
    assert (found.code, found.out) == (2, "")
    *usage, error = found.err.splitlines()
    assert not usage or usage[0].startswith("Usage: onnxspace")
    assert re.fullmatch(r"Error: ([A-Z]|--).*[.?]", error), error


def test_every_command_takes_both_names_of_help(cli: Cli) -> None:
    for words in (*COMMANDS, "", "space"):
        short, whole = (cli(*words.split(), flag) for flag in ("-h", "--help"))
        assert short == whole
        assert (short.code, short.out.startswith("Usage: onnxspace"), "  -h, --help" in short.out) == (0, True, True), words


def test_one_model_that_is_left_is_compared_with_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    found = cli("score", "good.onnx", "bad.onnx", "--images", "2")
    assert found.code == 2
    assert found.out.splitlines() == ["Only good is left, so there is nothing to compare it with."]


def test_one_of_a_thing_is_named_in_the_singular(cli: Cli, tmp_path: Path) -> None:
    """A session with one model and one image, where numbers of things are 1."""
    Image.new("RGB", (16, 16), (9, 99, 40)).save(tmp_path / "photo.png")
    for command in (
        "fingerprint good.onnx -o good.fp --images 1",
        "score good.onnx fine.onnx --images 1",
        "score good.onnx fine.onnx --images 1 --dry-run",
        "explain good.onnx photo.png -o maps.png",
        "space create zoo.space --images 1",
        "space probes zoo.space",
        "space add zoo.space good.onnx",
        "space list zoo.space",
        "space tag zoo.space good +one",
        "space rank zoo.space good",
        "space export zoo.space -o prints",
        "space duplicates zoo.space",
        "space verify zoo.space",
        "space compact zoo.space",
    ):
        found = cli(*command.split())
        assert found.code == 0, command
        assert not re.search(r"\b1 (\w+ )?(models|images|maps|fingerprints|files|sets|layers|numbers|classes)\b", found.out + found.err), (
            command, found.out, found.err
        )  # fmt: skip


def test_groups_of_duplicates_end_without_an_empty_line(cli: Cli) -> None:
    shutil.copy("good.onnx", "again.onnx")
    model = onnx.load("again.onnx")
    model.producer_name = "another"
    onnx.save(model, "again.onnx")
    assert cli("space", "create", "zoo.space", "--images", "2").code == 0
    assert cli("space", "add", "zoo.space", "good.onnx", "again.onnx", "--quiet").code == 0
    lines = cli("space", "duplicates", "zoo.space").out.splitlines()
    assert lines[0] == "2 models that may be one network"
    assert lines[-1].split()[:2] == ["good", "again"]
