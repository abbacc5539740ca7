"""`python -m benchmarks.gpu`: what it counts, and that all of its parts run without a GPU."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.__main__ import PARTS, print_reads, run_parts
from benchmarks.gpu.bench import Bench
from benchmarks.gpu.page import render
from benchmarks.gpu.reads import count_reads
from tests.helpers.nets import Net, classifier, save
from tests.helpers.sized_nets import resizing


def reading(operator: str) -> Net:
    """A network that multiplies its features by the number of those that are not zero, or by the sum of the smallest and largest one."""
    net = Net(("N", 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    count = net.add("Gather", net.add("Shape", net.add(operator, x)), net.weight(np.array([0 if operator == "Unique" else 1])))
    net.dense(net.add("Mul", x, net.add("Cast", count, to=1)), 8, 3)
    return net


@pytest.mark.parametrize("operator", ["NonZero", "Unique"])
def test_operators_that_read_are_counted_and_are_in_the_table(operator: str, tmp_path: Path) -> None:
    net = reading(operator)
    found = count_reads(save(net.model([net.nodes[-1].output[0]]), tmp_path / "net.onnx"))
    assert found.by == (operator,)
    assert not found.odd
    assert (found.nonzero == 1) == (operator == "NonZero")


def test_copies_of_the_first_pass_are_told_from_those_of_each(tmp_path: Path) -> None:
    net = resizing()
    found = count_reads(save(net.model([net.nodes[-1].output[0]]), tmp_path / "net.onnx"))
    assert (found.reads, found.nonzero, found.by, found.each) == (0, 0, (), 0)
    assert found.first > 0
    assert not found.odd


def test_the_table_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no model has its reason as its row; an operator that reads and is not in the table makes it fail."""
    net = reading("NonZero")
    save(net.model([net.nodes[-1].output[0]]), tmp_path / "b.onnx")
    save(classifier(), tmp_path / "a.onnx")
    (tmp_path / "c.onnx").write_bytes(b"no model")
    assert print_reads(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| a", "| b", "| c"]
    assert "NonZero" in lines[3]
    assert "c.onnx" in lines[4]
    assert lines[-1] == "1 of 3 graphs read nothing, and copy nothing after the first pass."
    monkeypatch.setattr("benchmarks.gpu.reads.SYNCHRONISING", {})
    assert print_reads(tmp_path) == 1


@pytest.mark.exhaustive
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    bench = Bench(torch.device("cpu"), True, time.monotonic() + 480, tmp_path)
    run_parts(bench)
    page = render(bench, {name: title for name, (title, _, _) in PARTS.items()})
    assert set(bench.rows) == set(PARTS)
    assert all(rows and not any(row.get("passed") is False for row in rows) for rows in bench.rows.values())
    assert page.count("\n## ") == len(PARTS) + 1
