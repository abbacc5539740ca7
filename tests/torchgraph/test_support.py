"""`inspect --support`: each operator of a file, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxspace.cli import main
from tests.helpers.nets import Net, save


def supported(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], tuple[int, int]]:
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", str(path), "--support", "--json"])
    assert not stopped.value.code
    rows = json.loads(capsys.readouterr().out)["support"]
    return {(row["operator"], row["way"]): (row["version"], row["count"]) for row in rows}


def test_every_way_is_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A SiLU in pieces, a weight behind Identity, a converted and an unsupported operator."""
    net = Net(("N", 3, 16, 16))
    kernel = net.add("Identity", net.random(4, 3, 3, 3))
    x = net.add("Conv", "image", kernel)
    x = net.add("Gelu", net.add("Mul", x, net.add("Sigmoid", x)))
    x = net.conv(x, 4, 4)
    net.nodes.append(onnx.helper.make_node("RandomNormalLike", [x], ["noise"]))
    found = supported(save(net.model([net.add("Add", x, "noise")], opset=20), tmp_path / "net.onnx"), capsys)
    assert found["Identity", "folded"] == (19, 1)
    assert found["Gelu", "onnxspace"] == (20, 1)
    assert found["RandomNormalLike", "none"] == (1, 1)
    assert sum(count for (operator, _), (_, count) in found.items() if operator == "Conv") == 2


def test_pieces_of_an_activation_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net(("N", 3, 16, 16))
    x = net.conv("image", 3, 4)
    x = net.add("Mul", x, net.add("Sigmoid", x))
    found = supported(save(net.model([net.conv(x, 4, 4)]), tmp_path / "net.onnx"), capsys)
    assert found["Sigmoid", "fused"] == (13, 1)
    assert found["Mul", "fused"] == (14, 1)


def test_the_text_names_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net(("N", 3, 16, 16))
    x = net.conv("image", 3, 4)
    path = save(net.model([net.conv(net.add("Add", x, net.weight(np.float32(1))), 4, 4)]), tmp_path / "net.onnx")
    with pytest.raises(SystemExit):
        main(["inspect", str(path), "--support"])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["Conv", "11", "2"] and "converted by" in line for line in lines)
