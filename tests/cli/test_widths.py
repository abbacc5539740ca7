"""Lines fit the terminal that they are printed on; elsewhere a message is a line."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from onnxspace.cli.commands.layers import table_lines
from onnxspace.cli.console import print_lines, print_note
from onnxspace.cli.text.lines import align, terminal_width, wrap
from onnxspace.scores.layer_table import Layer
from tests.helpers.results import layer_table
from tests.helpers.sentences import Cli
from tests.helpers.widths import WIDTH, list_wide_lines

SENTENCE = "a sentence of many words " * 12


@contextmanager
def pseudo_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[int]:
    """Make the stream `name` of `sys` a terminal; gives the end from which its output is read."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with os.fdopen(writer, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, name, stream)
        yield reader
    os.close(reader)


def read_all(reader: int) -> str:
    """What was printed on a pseudo-terminal, which gives it in parts."""
    sys.stderr.flush()
    parts = []
    while select.select([reader], [], [], 0.5)[0]:
        parts.append(os.read(reader, 10_000))
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [60, 80, 132])
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_each_stream_has_the_width_of_its_own_terminal(monkeypatch: pytest.MonkeyPatch, name: str, columns: int) -> None:
    with pseudo_terminal(columns, monkeypatch, name):
        assert terminal_width(err=name == "stderr") == columns
        assert terminal_width(err=name == "stdout") is None
        assert max(map(len, wrap(SENTENCE, err=name == "stderr"))) <= columns
        assert len(list(wrap(SENTENCE, err=name == "stdout"))) == 1


def test_a_message_is_wrapped_on_a_terminal_and_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pseudo_terminal(WIDTH, monkeypatch, "stderr") as reader:
        print_note(SENTENCE)
        lines = read_all(reader).splitlines()
    assert len(lines) > 1
    assert list_wide_lines("\n".join(lines)) == []
    assert all(line.startswith("    ") for line in lines[1:])
    assert " ".join(lines).split() == SENTENCE.split()
    print_note(SENTENCE)
    assert capsys.readouterr().err.splitlines() == [SENTENCE.strip()]


def test_a_terminal_that_states_no_size_has_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with pseudo_terminal(0, monkeypatch, "stdout"):
        assert terminal_width() == WIDTH


@pytest.mark.parametrize(("stated", "columns"), [("100", 100), ("1", 40), ("0", None), ("wide", None), ("", None), ("²", None)])
def test_the_variable_columns_counts_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stated: str, columns: int | None
) -> None:
    monkeypatch.setenv("COLUMNS", stated)
    assert terminal_width() == columns


def test_columns_that_do_not_fit_follow_below_with_the_names() -> None:
    rows = [
        ["", "model", *(f"score-number-{i}" for i in range(8))],
        ["1", "a", *"12345678"],
        ["", "chance", *("5" * 4), *[""] * 4],
    ]
    lines = list(align(rows, 1))
    assert list_wide_lines("\n".join(lines)) == []
    assert [line.split()[0] for line in lines if line] == ["model", "1", "chance", "model", "a"]
    shown = " ".join(lines).split()
    assert all(cell in shown for row in rows for cell in row if cell)


def test_names_are_shortened_in_the_middle_where_a_table_then_fits() -> None:
    rows = [["place", "model", "value"], ["1", "a-model-whose-name-is-long-" * 3 + "v2", "0.5"], ["2", "b", "0.25"]]
    lines = list(align(rows, 1))
    assert [len(line) for line in lines] == [WIDTH] * 3
    assert [line.split()[-1] for line in lines] == ["value", "0.5", "0.25"]
    assert re.search(r"1  a-model.*…\S*long-v2 ", lines[1])
    assert list(align([["", "x"], ["│   1. a", "1"], ["   10. b", "2"]], 0))[1:] == ["│   1. a  1", "   10. b  2"]
    assert list_wide_lines("\n".join(align([[*row, "x" * 40, "y" * 20] for row in rows], 1))) == []


def test_the_table_of_layers_fits(capsys: pytest.CaptureFixture[str]) -> None:
    tensors = ("/backbone/stage.3/blocks.11/attention/projection/dropout/Mul_output_0", "short", "/features" * 12)
    layers = tuple(Layer(tensor, (512, 14, 14), 100, 0.9, 0.1, 0.2, 0.3) for tensor in tensors)
    table = layer_table()
    print_lines(table_lines(replace(table, layers=layers, source=replace(table.source, encoder=tensors[0]))))
    out = capsys.readouterr().out
    assert [line for line in out.splitlines()[4:-2] if len(line) > WIDTH] == []
    assert "(its encoder)" in out
    assert "Mul_output_0" in out


def test_usage_errors_and_refusals_fit(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    for words in (("score", "good.onnx", "--by", "x"), ("check", "good.onnx"), ("space", "add", "none.space", "good.onnx")):
        found = cli(*words)
        assert found.code == 2
        assert list_wide_lines(found.out + found.err) == []


@pytest.mark.parametrize("command", ["", "score", "explain", "check", "diff", "fingerprint", "space create", "completion"])
def test_help_fits_and_breaks_no_name(cli: Cli, command: str) -> None:
    lines = cli(*command.split(), "--help").out.splitlines()
    assert [line for line in lines if len(line) > WIDTH or line.endswith("-")] == []
