"""`duplicates` finds what docs/commands/space.md promises on networks of models/, by its default limit, and no distinct networks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import onnxspace as ox
from onnxspace.checking.child.forms import write_form
from onnxspace.cli.commands.space.search import duplicates
from onnxspace.spaces.neighbours import DUPLICATE
from tests.helpers.paths import REPOSITORY

#: The network whose copy in 8 bits has the lowest affinity of all, and two that were trained one from the other.
COPIED, RELATED = "light-torch", ("segment-torch", "edges-torch")


def noisy(model: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """With noise of a share of each weight's size on every kernel and matrix."""
    draw = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            moved = values + share * np.sqrt(np.mean(values**2)) * draw.standard_normal(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(moved.astype(values.dtype), tensor.name))
    return model


def test_copies_are_found_and_relatives_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    probes = ox.Probes.generate(16)
    for name in (COPIED, *RELATED):
        shutil.copy(REPOSITORY / f"models/{name}.onnx", tmp_path)
    for form in ("half", "int8"):
        write_form(form, ox.open_model(f"{COPIED}.onnx"), ox.Probes.generate(32).images, tmp_path / f"{form}.onnx")
    onnx.save(noisy(onnx.load(f"{COPIED}.onnx"), 0.01), "noise.onnx")
    space = ox.Space.create("zoo.space", probes)
    for name in (COPIED, *RELATED, "half", "int8", "noise"):
        space.add(f"{name}.onnx")
    assert [set(group) for group in space.duplicate_groups().members] == [{COPIED, "half", "int8", "noise"}]
    related = space.affinity()
    rows = [related.names.index(name) for name in RELATED]
    assert 0.7 < related.matrix[rows[0], rows[1]] < DUPLICATE


def test_the_command_has_the_same_limit() -> None:
    assert next(option.default for option in duplicates.params if option.name == "least") == DUPLICATE
