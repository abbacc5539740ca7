"""Weights beside the graph: nothing is lost on the way out and back, nothing is copied that need not be, no 2 GiB limit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

import onnxspace as ox
from onnxspace.errors import ModelError
from onnxspace.model import runtime
from onnxspace.model.model import open_model
from onnxspace.model.network import SMALL, Network, embed_weights, separate_weights
from onnxspace.torchgraph.encoder_graph import convert, to_torch
from tests.helpers.nets import Net, save

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)


def wide(kind: type[np.generic] = np.float32) -> onnx.ModelProto:
    """A network with one large weight (9,216 values) and some small ones."""
    net = Net()
    made = net.add("Relu", net.conv("image", 3, 32))
    made = net.add("Relu", net.conv(made, 32, 32))
    model = net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", made)), 32, 4)])
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    return model


def outside(path: Path, model: onnx.ModelProto) -> Path:
    """The model saved with every tensor in one external file."""
    onnx.save(model, path, save_as_external_data=True, location=f"{path.stem}.data", size_threshold=0)
    return path


def addresses(graph: torch.nn.Module) -> set[int]:
    return {tensor.data_ptr() for tensor in graph.buffers()}


def test_large_tensors_leave_the_message_and_come_back_to_the_bit() -> None:
    model = wide()
    network = separate_weights(model)
    assert {values.size > SMALL for values in network.weights.values()} == {True}
    assert network.proto.ByteSize() < model.ByteSize() - 4 * SMALL
    assert embed_weights(network).SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
    assert separate_weights(network) is network


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.int8, np.uint8, np.int64, np.bool_])
def test_external_and_embedded_weights_are_read_alike(kind: type[np.generic], tmp_path: Path) -> None:
    model = wide(kind)
    inside, beside = open_model(save(model, tmp_path / "in.onnx")), open_model(outside(tmp_path / "out.onnx", model))
    assert inside.network.weights.keys() == beside.network.weights.keys() != set()
    for name, values in inside.network.weights.items():
        np.testing.assert_array_equal(values, beside.network.weights[name])
        assert values.dtype == beside.network.weights[name].dtype == np.dtype(kind)


def test_the_runtime_computes_the_same_wherever_weights_lie(tmp_path: Path) -> None:
    model, images = wide(), np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
    expected = runtime.run(model, {"image": images})[0]
    for optimise in (False, True):
        found = runtime.run(separate_weights(model), {"image": images}, optimise=optimise)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        ours = to_torch(outside(tmp_path / "net.onnx", model))(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_converted_encoder_shares_the_models_weights_and_a_public_graph_does_not(tmp_path: Path) -> None:
    model = open_model(save(wide(), tmp_path / "net.onnx"))
    held = {values.ctypes.data for values in model.network.weights.values()}
    assert held <= addresses(convert(model, IMAGES).graph)
    assert held.isdisjoint(addresses(ox.to_torch(model)))


def test_half_precision_weights_beside_the_graph_are_widened(tmp_path: Path) -> None:
    net = Net(elem_type=TensorProto.FLOAT16)
    made = net.add("GlobalAveragePool", net.add("Relu", net.conv(net.add("Relu", net.conv("image", 3, 32)), 32, 32)))
    model = net.model([net.dense(net.add("Flatten", made), 32, 4)])
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    graph = to_torch(outside(tmp_path / "half.onnx", model))
    assert {tensor.dtype for tensor in graph.buffers()} == {torch.float32}


def test_more_than_one_message_can_hold_is_refused_where_one_is_needed() -> None:
    huge = np.broadcast_to(np.float32(0), (2**15, 2**15))
    with pytest.raises(ValueError, match="2 GiB"):
        embed_weights(Network(onnx.ModelProto(), {"w": huge}))


def test_external_data_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = outside(tmp_path / "net.onnx", wide())
    monkeypatch.setattr("onnxspace.model.external_data.MAX_DATA_BYTES", 10_000)
    with pytest.raises(ModelError, match=r"net\.onnx has more than 0 GiB of external data\. Leave it out"):
        open_model(path)


def test_sizes_that_are_inputs_need_examples() -> None:
    net = Net((2, 6))
    model = net.model([net.add("Reshape", "image", "shape")])
    model.graph.input.append(onnx.helper.make_tensor_value_info("shape", TensorProto.INT64, [1]))
    with pytest.raises(ModelError, match="Give to_torch example inputs"):
        to_torch(model)
    x, shape = np.arange(12, dtype=np.float32).reshape(2, 6), np.array([12])
    graph = to_torch(model, inputs=[x, shape])
    np.testing.assert_array_equal(graph(torch.from_numpy(x), torch.from_numpy(shape)).numpy(), x.reshape(12))
    with pytest.raises(ModelError, match=r"takes 2 inputs \(image, shape\), but 1 were given"):
        to_torch(model, inputs=[x])
