"""Files whose batch is fixed at N: the graph is opened to one image, and gives what an export with a batch of one gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

import onnxspace as ox
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.encoder import find_encoder
from onnxspace.model.features import compute_per_image, write_features
from onnxspace.model.model import Model, open_model
from tests.helpers import nets, torchnets

PROBES = Probes.generate(3, 32)


def tokens(batch: int) -> onnx.ModelProto:
    """Patches, a class token repeated for every image, windows of tokens merged with the batch, a head: all with the batch written in."""
    net = nets.Net((batch, 3, 16, 16))
    patches = net.add("Reshape", net.conv("image", 3, 8, 4, strides=[4, 4]), net.weight(np.array([batch, 8, 16])))
    row = net.rng.standard_normal((1, 1, 8))
    x = net.add("Concat", net.weight(np.repeat(row, batch, 0)), net.add("Transpose", patches, perm=[0, 2, 1]), axis=1)
    x = net.add("Slice", x, *(net.weight(np.array([n])) for n in (1, 17, 1)))
    windows = net.add("Reshape", x, net.weight(np.array([batch * 4, 4, 8])))
    mixed = net.add("Softmax", net.add("MatMul", windows, net.add("Transpose", windows, perm=[0, 2, 1])), axis=-1)
    x = net.add("Reshape", net.add("MatMul", mixed, windows), net.weight(np.array([batch, 16, 8])))
    x = net.add("Relu", net.add("MatMul", x, net.random(8, 6)))
    flat = net.add("Reshape", x, net.weight(np.array([batch, -1])))
    return net.model([net.dense(net.add("Relu", net.dense(flat, 96, 5)), 5, 3)])


def sequence_first(batch: int) -> onnx.ModelProto:
    """Columns as a sequence in front of the batch, through a recurrent layer with a state for every image; both merged in a product."""
    net = nets.Net((batch, 3, 16, 16))
    x = net.add("Transpose", net.conv("image", 3, 4, strides=[2, 2], pads=[1] * 4), perm=[3, 0, 1, 2])
    x = net.add("Reshape", x, net.weight(np.array([8, batch, 32])))
    weights = net.random(1, 20, 32), net.random(1, 20, 5), net.weight(np.zeros((1, 40)))
    state = net.weight(np.zeros((1, batch, 5)))
    x = net.add("LSTM", x, *weights, "", state, state, hidden_size=5)
    x = net.dense(net.add("Reshape", x, net.weight(np.array([8 * batch, 5]))), 5, 6)
    x = net.add("Reshape", net.add("Relu", x), net.weight(np.array([8, batch, 6])))
    return net.model([net.dense(net.add("ReduceMean", x, axes=[0], keepdims=0), 6, 3)])


def features(model: Model, tmp_path: Path) -> np.ndarray:
    return np.asarray(write_features(model, find_encoder(model), PROBES.images, tmp_path / "features.npy").values)


@pytest.mark.parametrize("build", [tokens, sequence_first])
@pytest.mark.parametrize("batch", [2, 4, 7])
def test_maps_and_features_are_those_of_a_batch_of_one(build, batch: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    one, many = (open_model(nets.save(build(n), tmp_path / f"{n}.onnx")) for n in (1, batch))
    assert nets.worst_cosine(ox.attribute(one, PROBES), ox.attribute(many, PROBES)) >= 0.9999
    np.testing.assert_allclose(features(one, tmp_path), features(many, tmp_path), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dynamo", [False, True])
def test_attention_as_torch_exports_it(dynamo: bool, tmp_path: Path) -> None:
    maps = []
    for batch in (1, 4):
        file, image = tmp_path / f"{batch}.onnx", (torch.zeros(batch, *torchnets.SHAPE),)
        torch.onnx.export(torchnets.attending(), image, file, dynamo=dynamo, opset_version=18, verbose=False)
        model = open_model(file)
        maps.append(ox.attribute(model, PROBES, "unit-saliency"))
        assert model.input_shape[0] == 1
    assert nets.worst_cosine(*maps) >= 0.9999


def test_opened_graph_is_compared_with_the_file(tmp_path: Path) -> None:
    model = open_model(nets.save(tokens(4), tmp_path / "net.onnx"))
    images = Probes.generate(4, 32).images
    values = model.preprocess(images)
    assert model.file_network is not None
    together = runtime.run(model.file_network, {"image": values})[0]
    alone = [runtime.run(model.network, {"image": values[i : i + 1]})[0] for i in range(4)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-5)


def test_bytes_in_a_batch(tmp_path: Path) -> None:
    net = nets.Net((2, 3, 16, 16), elem_type=TensorProto.UINT8)
    x = net.add("Cast", "image", to=TensorProto.FLOAT)
    x = net.add("Reshape", net.add("Relu", net.conv(x, 3, 4, 16)), net.weight(np.array([2, 4])))
    model = open_model(nets.save(net.model([net.dense(x, 4, 3)]), tmp_path / "bytes.onnx"))
    assert np.isfinite(ox.attribute(model, PROBES)).all()


def test_affinity_to_the_export_with_a_batch_of_one(tmp_path: Path) -> None:
    paths = [nets.save(tokens(n), tmp_path / f"batch{n}.onnx") for n in (1, 4)]
    assert ox.score(paths, PROBES).matrix[0, 1] >= 0.999


def test_images_that_are_split_are_fed_together(tmp_path: Path) -> None:
    net = nets.Net((3, 3, 16, 16))
    x = net.add("ReduceMean", net.add("Relu", net.conv("image", 3, 8, 3)), axes=[2, 3], keepdims=0)
    net.nodes.append(onnx.helper.make_node("Split", [x], ["a", "b", "c"], axis=0))
    model = open_model(nets.save(net.model([net.dense(net.add("Concat", "a", "b", "c", axis=0), 8, 5)]), tmp_path / "net.onnx"))
    images = Probes.generate(4, 32).images
    assert model.images_at_once == 3
    values = model.preprocess(images)
    (found,) = compute_per_image(model, model.graph.outputs, images)
    expected = [runtime.run(model.proto, {"image": part})[0] for part in (values[:3], values[[3, 3, 3]])]
    np.testing.assert_allclose(found, np.concatenate(expected)[:4], rtol=1e-4, atol=1e-5)
