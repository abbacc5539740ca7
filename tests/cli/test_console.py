"""Progress without a terminal, notes on replaced outputs, completion, and unknown names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxspace.cli import console
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
    assert "there is no command 'scoer'; did you mean score" in cli("scoer").err
    assert (
        "--target: there is no model 'godo'; did you mean good?"
        in cli("score", "good.onnx", "fine.onnx", "--target", "godo").err
    )


def test_one_model_that_is_left_is_compared_with_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    found = cli("score", "good.onnx", "bad.onnx", "--images", "2")
    assert found.code == 2
    assert found.out.splitlines() == ["Only good is left, so there is nothing to compare it with."]
