"""Weights of a model are in memory once while it is explained."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.nets import Net, save

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count", [1, 2])
def test_weights_are_held_once_while_the_last_maps_are_computed(tmp_path: Path, warm_python: Path, count: int) -> None:
    """In a process of its own: what Torch's compiler has seen in this one may keep tensors."""
    net = Net(("N", 3, 32, 32))
    x = net.add("Relu", net.conv("image", 3, 32, pads=[1] * 4))
    x = net.add("Relu", net.conv(x, 32, 40, pads=[1] * 4))
    file = save(net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 40, 4)]), tmp_path / "net.onnx")
    command = [warm_python, "-m", "tests.helpers.held_weights", str(file), str(count)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == str([True, False][2 - count :])
    maps = [np.load(one) for one in tmp_path.glob("*.npy")]
    assert len(maps) == count
    assert all(one.any() for one in maps)
