"""Chunks of maps, computed in the tests' own process."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper

import onnxspace as ox
from onnxspace.attribution import compiled_graph
from onnxspace.attribution.cache_key import library_versions
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.targets import Target, to_target
from onnxspace.model.encoder import find_encoder
from onnxspace.workflows.child.chunks import compute_chunk
from onnxspace.workflows.cluster.chunk import Chunk, chunk_path, read_chunk
from onnxspace.workflows.cluster.worker import ImageRange, ModelTask, RunSpec, parse_chunk
from tests.helpers.nets import classifier, save


def refuse(*_: object) -> None:
    raise RuntimeError("no compiler is there")


def compute(folder: Path, proto: ModelProto, compute: Compute, target: Target | None = None) -> Chunk:
    """The chunk of two images of a model, as a worker answers and stores it."""
    model = ox.open_model(save(proto, folder / "a.onnx"))
    probes, found = ox.Probes.generate(2, 16), find_encoder(model)
    np.save(folder / "probes.npy", probes.images)
    spec = RunSpec(
        str(folder), str(folder / "probes.npy"), probes.name, probes.sha256, "elrp", None, compute, None, None,
        tuple(library_versions().items()), target=target,
    )  # fmt: skip
    facts = {**asdict(spec), "target": None if target is None else target.to_json()}
    encoder = {"tensors": found.tensors, "why": found.why, "deviations": found.deviations}
    task = ModelTask(str(model.path), "a", model.sha256, encoder, {}, "key")
    given = [json.loads(json.dumps(one)) for one in (facts, asdict(task), asdict(ImageRange(0, 2, 2, None)))]
    chunk = parse_chunk(json.loads(json.dumps(asdict(compute_chunk(*given)))), "a.onnx")
    stored = read_chunk(chunk_path(folder, "key", chunk), 16 * 16)
    assert stored is not None
    assert stored[0] == chunk
    return chunk


def test_a_chunk_says_that_its_network_is_not_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_graph, "COMPILER", {"backend": refuse})
    (remark,) = compute(tmp_path, classifier(), Compute("cpu", compiled=True)).remarks
    assert remark.startswith("its network is not compiled: Torch's compiler fails (")


def test_a_chunk_says_that_a_class_is_explained_before_the_softmax(tmp_path: Path) -> None:
    proto = classifier()
    logits = proto.graph.output[0].name
    proto.graph.node.append(helper.make_node("Softmax", [logits], ["shares"], axis=1))
    proto.graph.output[0].name = "shares"
    assert compute(tmp_path, proto, Compute("cpu"), to_target(1)).remarks == (
        "class 1 is explained before the Softmax that shares ends with.",
    )
