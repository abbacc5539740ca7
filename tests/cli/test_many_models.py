"""What `score` prints of more than a dozen models fits a terminal and says where the rest is."""

from __future__ import annotations

import numpy as np
import pytest

from onnxspace.cli.text import score as text
from onnxspace.cli.text.lines import WIDTH, wrap
from onnxspace.cli.text.summary import find_groups
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.records import ModelRecord
from tests.helpers.sentences import Cli


def zoo(count: int) -> Affinity:
    """Models in groups of four with an affinity of .7, of which the first two are copies."""
    group = np.arange(count) // 4
    matrix = np.where(group[:, None] == group, 0.7, 0.01)
    for first in range(0, count - 1, 4):
        matrix[first, first + 1] = matrix[first + 1, first] = 0.99
    np.fill_diagonal(matrix, 1.0)
    records = tuple(
        ModelRecord(f"model-{i:02}", f"model-{i:02}.onnx", "0" * 64, "encoder", "input", 17, "test") for i in range(count)
    )
    return Affinity(records, matrix, "elrp", {"name": "generated-0", "images": 64})


def show(result: Affinity, top: int | None = None, *, matrix: bool = False, target: str | None = None) -> list[str]:
    names = result.names if target is None else (target,)
    return list(text.describe(result, names, top, matrix=matrix))


@pytest.mark.usefixtures("terminal")
def test_thirty_two_models_take_sixty_lines_of_eighty_characters() -> None:
    lines = show(zoo(32))
    assert len(lines) <= 60
    assert max(map(len, lines)) <= WIDTH
    assert any(line.startswith(" 0.748  model-00 = model-01, model-02, model-03") for line in lines)
    assert "  model-05  model-04  0.990" in lines
    assert "  model-07  model-04  0.700  or one of 2 more" in lines
    assert "--target NAME" in " ".join(lines[-4:])


@pytest.mark.usefixtures("terminal")
def test_a_dozen_models_are_printed_whole_in_the_width() -> None:
    lines = show(zoo(12))
    assert max(map(len, lines)) <= WIDTH
    numbers = [line.split() for line in lines if line.startswith(("1  model", " 1  model"))]
    assert sum(len(one) - 2 for one in numbers) == 12
    assert sum(line.startswith("Most alike to model") for line in lines) == 12


def test_one_target_alone() -> None:
    lines = show(zoo(32), target="model-03")
    assert sum("model-" in line for line in lines) == 32  # the title, and 31 sources
    assert not any(line.startswith(" 1  model") for line in lines)
    assert any(line.startswith(" 1  model") for line in show(zoo(32), target="model-03", matrix=True))


def test_top_of_each() -> None:
    lines = show(zoo(32), 2)
    assert sum(line.startswith("Most alike to") for line in lines) == 32
    assert lines.count("       and 29 more") == 32


def test_the_whole_matrix() -> None:
    lines = show(zoo(32), matrix=True)
    rows = [line.split() for line in lines if line.split()[:1] == ["32"]]
    assert sum(len(row) - 2 for row in rows) == 32


def test_groups_are_those_of_the_matrix() -> None:
    assert [sorted(group) for group in find_groups(zoo(10))] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert find_groups(zoo(10), 0.95) == [[0, 1], [4, 5], [8, 9], [2], [3], [6], [7]]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("line", ["", "word", "a-name-with-hyphens " * 9])
def test_wrapping_keeps_all_words(line: str) -> None:
    lines = list(wrap(line, "  "))
    assert " ".join(lines).split() == line.split()
    assert max(map(len, lines)) <= WIDTH


def test_top_and_matrix_on_the_command_line(cli: Cli) -> None:
    command = ("score", "good.onnx", "fine.onnx", "--images", "2", "--target", "good", "--quiet")
    out = cli(*command).out
    assert not any(line.startswith("1  ") for line in out.splitlines())
    assert sum(line.startswith(("1  ", "2  ")) for line in cli(*command, "--matrix", "--top", "1").out.splitlines()) == 2
    assert cli(*command, "--top", "0").code == 2
