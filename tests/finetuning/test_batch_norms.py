"""Batch normalisation put back: the function stays, and the network trains as the one that was exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from onnxspace.finetuning.batch_norms import has_norms, insert_batch_norms, list_convolutions
from onnxspace.finetuning.preparation import build_training_graph
from onnxspace.finetuning.training_graph import TrainingGraph
from onnxspace.inputs.config import ModelOptions
from onnxspace.model.encoder import cut, find_encoder
from onnxspace.model.model import Model, open_model
from onnxspace.model.network import Network
from onnxspace.torchgraph.normalise import normalise
from tests.helpers.nets import Net, save
from tests.helpers.trainable import Normalised, draw_pictures, pictures_of, write_merged

SYMMETRIC = ModelOptions(pixels="symmetric")


@pytest.fixture
def images() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return draw_pictures(40)


def _restore(model: Model, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> TrainingGraph:
    return build_training_graph(model, find_encoder(model), pictures_of(images, model.preprocess), "back")


def _network(model: Model) -> Network:
    return normalise(cut(model, find_encoder(model)), {model.image.name: model.input_shape}, batched=model.image.name)


def test_put_back_leaves_the_function(tmp_path: Path, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    native = Normalised()
    model = open_model(write_merged(native, tmp_path / "merged.onnx"))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.nodes}
    graph, batch = _restore(model, images), pictures_of(images).batch(np.arange(40))
    with torch.no_grad():
        torch.testing.assert_close(graph.eval()(batch), native.features(batch), rtol=1e-4, atol=1e-5)
    assert len(graph.norms) == 2


def test_put_back_trains_as_the_original(tmp_path: Path, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    batch = pictures_of(images).batch(np.arange(40))
    native = Normalised().settle([batch])
    graph = _restore(open_model(write_merged(native, tmp_path / "merged.onnx"), options=SYMMETRIC), images)
    part = batch[:8] * 0.5 + 0.1  # other statistics than those of all images
    expected = native.train().features(part)
    found = graph.train()(part)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)
    expected.square().sum().backward()  # type: ignore[no-untyped-call]
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    shifts = [graph.weights[inputs[1]].grad for _, inputs in graph.norms.values()]
    for shift, layer in zip(shifts, (native.norm, native.other), strict=True):
        torch.testing.assert_close(shift, layer.bias.grad, rtol=2e-2, atol=2e-2)


def test_merged_graph_trains_otherwise(tmp_path: Path, images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    batch = pictures_of(images).batch(np.arange(40))
    native = Normalised().settle([batch])
    model = open_model(write_merged(native, tmp_path / "merged.onnx"))
    plain = build_training_graph(model, find_encoder(model), pictures_of(images, model.preprocess), "none")
    part = batch[:8] * 0.5 + 0.1
    assert (plain.train()(part) - native.train().features(part)).abs().max() > 0.05


def test_opset_below_seven_stays(tmp_path: Path) -> None:
    net = Net()
    model = net.model([net.conv("image", 3, 4)], opset=6)
    assert insert_batch_norms(Network(model)).proto == model


def test_inserted_graph_is_valid(tmp_path: Path) -> None:
    model = open_model(write_merged(Normalised(), tmp_path / "merged.onnx"))
    network = insert_batch_norms(_network(model))
    given = list(network.weights)
    assert not given, "all weights of this small network lie in the message"
    onnx.shape_inference.infer_shapes(network.proto, strict_mode=True)
    assert [node.op_type for node in network.graph.nodes].count("BatchNormalization") == len(list_convolutions(network)) == 2


@pytest.mark.parametrize("live", [True, False])
def test_live_normalisation_is_recognised(tmp_path: Path, live: bool) -> None:
    net = Net()
    x = net.conv("image", 3, 4)
    if live:
        x = net.add("BatchNormalization", x, *(net.weight(np.ones(4)) for _ in range(4)))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", x)))
    model = open_model(save(net.model([net.dense(x, 4, 3)]), tmp_path / "net.onnx"))
    assert has_norms(_network(model)) is live
