"""Training graphs: which weights are trained, gradients against PyTorch's own, dropout, and copies."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from onnxspace.errors import ModelError
from onnxspace.finetuning.live_layers import LiveDropout
from onnxspace.finetuning.preparation import build_training_graph
from onnxspace.finetuning.training_graph import TrainingGraph, list_weights
from onnxspace.model.encoder import cut, find_encoder
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.normalise import normalise
from tests.helpers.nets import Net, classifier, save
from tests.helpers.torchnets import attending
from tests.helpers.trainable import draw_pictures, pictures_of, write_merged


def _graph(model: Model) -> TrainingGraph:
    return build_training_graph(model, find_encoder(model), pictures_of(draw_pictures(8), model.preprocess), "none")


def test_gradients_are_those_of_pytorch(tmp_path: Path) -> None:
    native = attending().train()
    graph = _graph(open_model(write_merged(native, tmp_path / "attending.onnx"))).train()
    batch = pictures_of(draw_pictures(8)).batch(np.arange(8))
    native.train()
    tokens = native.patches(batch).flatten(2).transpose(1, 2)
    tokens = tokens + native.attention(tokens, tokens, tokens, need_weights=False)[0]
    native.features(tokens.mean(1)).square().sum().backward()
    graph(batch).square().sum().backward()
    trained = {p.numel(): p for p in native.parameters() if p.grad is not None}
    ours = [p for p in graph.parameters() if p.requires_grad]
    assert sum(p.numel() for p in ours) == sum(p.numel() for p in native.parameters() if p.grad is not None)
    patches = next(p for p in ours if p.dim() == 4)
    torch.testing.assert_close(patches.grad, native.patches.weight.grad, rtol=1e-3, atol=1e-4)
    assert trained


def test_preprocessing_and_constants_are_not_trained(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Sub", "image", net.weight(np.full((1, 3, 1, 1), 0.5)))
    x = net.conv(x, 3, 4)
    x = net.add("Mul", x, net.weight(np.float32(0.5)))
    x = net.add("Add", x, net.weight(np.ones((1, 4, 1, 1))))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", x)))
    model = open_model(save(net.model([net.dense(x, 4, 3)]), tmp_path / "net.onnx"))
    network = normalise(cut(model, find_encoder(model)), {"image": model.input_shape}, batched="image")
    shapes = [np.shape(network.graph.constant(name)) for name in list_weights(network)]
    assert sorted(shapes) == [(1, 4, 1, 1), (4, 3, 3, 3)]


def test_dropout_is_live_in_training(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 64))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    x = net.add("Dropout", x, net.weight(np.float32(0.25)))
    x = net.add("Relu", net.dense(x, 64, 8))
    model = open_model(save(net.model([net.dense(x, 8, 3)]), tmp_path / "net.onnx"))
    graph = _graph(model)
    layer = next(module for module in graph.modules() if isinstance(module, LiveDropout))
    assert layer.ratio == 0.25
    torch.manual_seed(0)
    passed = layer.train()(torch.ones(10_000))
    assert abs(float((passed == 0).float().mean()) - 0.25) < 0.02
    assert torch.equal(layer.eval()(torch.ones(4)), torch.ones(4))


def test_a_copy_shares_no_weights(tmp_path: Path) -> None:
    graph = _graph(open_model(save(classifier(), tmp_path / "net.onnx")))
    twin = copy.deepcopy(graph)
    assert twin.network is graph.network
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert all(float(p.abs().sum()) > 0 for p in graph.parameters())
    batch = torch.ones(2, 3, 16, 16)
    assert float(graph.eval()(batch).abs().sum()) > 0
    assert float(twin.eval()(batch).abs().sum()) == 0


def test_a_network_of_many_layers_is_copied(tmp_path: Path) -> None:
    net = Net(("N", 3, 8, 8))
    x = net.conv("image", 3, 4)
    for _ in range(300):
        x = net.add("Relu", net.conv(x, 4, 4, 1))
    x = net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 4, 3)
    graph = _graph(open_model(save(net.model([x]), tmp_path / "deep.onnx"))).eval()
    batch = torch.ones(1, 3, 8, 8)
    assert torch.equal(copy.deepcopy(graph).eval()(batch), graph(batch))


def test_the_models_own_weights_stay(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    before = {tensor.name: tensor.raw_data for tensor in model.proto.graph.initializer}
    graph = _graph(model)
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.zero_()
    assert {tensor.name: tensor.raw_data for tensor in model.proto.graph.initializer} == before


def test_network_without_weights_is_refused(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Relu", net.add("GlobalAveragePool", "image"))
    x = net.add("Flatten", x)
    model = open_model(save(net.model([net.dense(x, 3, 3)]), tmp_path / "net.onnx"), encoder=x)
    with pytest.raises(ModelError, match="no weights that can be trained below its encoder"):
        _graph(model)
