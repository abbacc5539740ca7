"""Copies of graphs: weights are shared until they are replaced or moved, and what modules refer to is not copied."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace

import onnxspace as ox
from onnxspace.attribution.graph_copy import copy_graph
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.nets import classifier, save


def convert_classifier(folder: Path) -> tuple[GraphModule, torch.Tensor]:
    model, probes = open_model(save(classifier(), folder / "a.onnx")), ox.Probes.generate(2, 16)
    return convert(model, probes.images).graph, torch.from_numpy(model.preprocess(probes.images))


def test_a_copy_shares_weights_until_they_are_replaced(tmp_path: Path) -> None:
    graph, values = convert_classifier(tmp_path)
    before, own = graph(values), copy_graph(graph)
    assert (own(values) == before).all()
    weights = dict(graph.named_buffers())
    assert {name: value.data_ptr() for name, value in own.named_buffers()} == {n: v.data_ptr() for n, v in weights.items()}
    name = next(name for name, value in weights.items() if value.dim() == 4)
    owner, _, last = name.rpartition(".")
    own.get_submodule(owner).register_buffer(last, torch.zeros_like(weights[name]))
    assert (own(values) != before).any()
    assert (graph(values) == before).all()


def test_a_copy_is_moved_alone_with_buffers_and_parameters(tmp_path: Path) -> None:
    graph, values = convert_classifier(tmp_path)
    assert copy_graph(graph).double()(values.double()).dtype == torch.float64
    assert graph(values).dtype == torch.float32
    held = symbolic_trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    assert {value.dtype for value in copy_graph(held).double().parameters()} == {torch.float64}
    assert {value.dtype for value in held.parameters()} == {torch.float32}


def test_what_a_module_refers_to_is_not_copied_however_deep_it_is(tmp_path: Path) -> None:
    graph, values = convert_classifier(tmp_path)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    graph.get_submodule("Conv_0").note = deep  # type: ignore[assignment]
    assert copy_graph(graph).get_submodule("Conv_0").note is deep
    assert (copy_graph(graph)(values) == graph(values)).all()
    while deep:  # unnested step by step: an interpreter that frees it at once recurses too
        deep = deep.pop()  # type: ignore[assignment]
