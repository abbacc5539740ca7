"""Chunks of maps, computed in the tests' own process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import onnxspace as ox
from onnxspace.attribution import compiled_graph
from onnxspace.attribution.cache_key import library_versions
from onnxspace.inputs.execution import Compute
from onnxspace.model.encoder import find_encoder
from onnxspace.workflows.child.chunks import compute_chunk
from onnxspace.workflows.cluster.chunk import chunk_path, read_chunk
from onnxspace.workflows.cluster.worker import ImageRange, ModelTask, RunSpec, parse_chunk
from tests.helpers.nets import classifier, save


def refuse(*_: object) -> None:
    raise RuntimeError("no compiler is there")


def test_a_chunk_says_that_its_network_is_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_graph, "COMPILER", {"backend": refuse})
    model = ox.open_model(save(classifier(), tmp_path / "a.onnx"))
    probes, found = ox.Probes.generate(2, 16), find_encoder(model)
    np.save(tmp_path / "probes.npy", probes.images)
    spec = RunSpec(
        str(tmp_path), str(tmp_path / "probes.npy"), probes.name, probes.sha256, "elrp", None, Compute("cpu", compiled=True), None,
        None, tuple(library_versions().items()),
    )  # fmt: skip
    encoder = {"tensors": found.tensors, "why": found.why, "deviations": found.deviations}
    task = ModelTask(str(model.path), "a", model.sha256, encoder, {}, "key")
    given = [json.loads(json.dumps(asdict(one))) for one in (spec, task, ImageRange(0, 2, 2, None))]
    chunk = parse_chunk(json.loads(json.dumps(asdict(compute_chunk(*given)))), "a.onnx")
    (remark,) = chunk.remarks
    assert remark.startswith("its network is not compiled: Torch's compiler fails (")
    stored = read_chunk(chunk_path(tmp_path, "key", chunk), 16 * 16)
    assert stored is not None
    assert stored[0] == chunk
