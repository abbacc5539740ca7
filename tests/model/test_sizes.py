"""Sizes: nothing is run without a limit to learn one, and what would be too large is not run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from onnxspace.errors import ModelError, OnnxspaceError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.encoder import Encoder, Trunk
from onnxspace.model.features import write_features
from onnxspace.model.model import open_model
from onnxspace.model.shapes import infer_shapes
from onnxspace.torchgraph.encoder_graph import convert, to_torch
from tests.helpers.hostile import add_endless_loop
from tests.helpers.nets import Net, classifier, save


def scaled_by(make: Callable[[Net], str]) -> onnx.ModelProto:
    """A small network whose values are scaled by the sum of a large tensor, which `make` adds."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    total = net.add("ReduceSum", net.add("Cos", make(net)), keepdims=0)
    return net.model([net.conv(net.add("Mul", x, total), 4, 2)])


def numbers(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(values, np.int64)


HUGE: dict[str, Callable[[Net], str]] = {
    "ConstantOfShape": lambda net: net.add(
        "ConstantOfShape", net.weight(numbers(3 * 2**30)), value=numpy_helper.from_array(np.ones(1, np.float32))
    ),
    "Expand": lambda net: net.add("Expand", net.random(1), net.weight(numbers(2**16, 2**16))),
    "Tile": lambda net: net.add("Tile", net.random(2, 2), net.weight(numbers(2**15, 2**15))),
    "Pad": lambda net: net.add("Pad", net.random(2), net.weight(numbers(0, 2**32))),
    "Resize": lambda net: net.add("Resize", net.random(1, 1, 2, 2), "", "", net.weight(numbers(1, 1, 2**16, 2**16))),
    "EyeLike": lambda net: net.add("EyeLike", net.add("Expand", net.random(1, 1), net.weight(numbers(2**16, 2**16)))),
    "RandomNormal": lambda net: net.add("RandomNormal", shape=[2**16, 2**16]),
    "Einsum": lambda net: net.add("Einsum", net.random(2**16), net.random(2**16), equation="i,j->ij"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_what_would_be_too_large_is_refused_before_it_is_run(tmp_path: Path, kind: str) -> None:
    model = open_model(save(scaled_by(HUGE[kind]), tmp_path / "net.onnx"), options=ModelOptions(size=(16, 16)))
    trunk = Trunk(model)
    assert trunk.nodes
    probes, encoder = Probes.generate(2), Encoder((model.graph.outputs[0],), "")
    with pytest.raises(ModelError, match=r"net\.onnx computes '\w+' of \d+ GiB, more than the 4 GiB"):
        convert(model, probes.images, encoder)
    with pytest.raises(ModelError, match=r"net\.onnx computes"):
        write_features(model, encoder, probes.images, tmp_path / "features.npy")


WIDE = {"wide": [2**31, 3, 16, 16], "open and wide": [0, 2**62, 1, 1], "empty and wide": [1, 3, 2**63 - 1, -1]}


@pytest.mark.parametrize("sizes", WIDE.values(), ids=WIDE)
def test_an_input_that_no_array_can_have_is_refused(sizes: list[int]) -> None:
    model = classifier()
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, sizes, strict=True):
        dim.dim_value = size
    with pytest.raises(ModelError, match=r"test takes 'image' of .* GiB, more than the 4 GiB"):
        to_torch(model)


@pytest.mark.parametrize("sizes", [[0, 2**62], [1, 3, 2**63 - 1, 0], [2**31, 2**31, 2**31, 0]], ids=str)
def test_a_stored_tensor_without_values_but_with_a_size_of_no_array_is_refused(tmp_path: Path, sizes: list[int]) -> None:
    model = classifier()
    model.graph.initializer[0].CopyFrom(TensorProto(name="w0", data_type=TensorProto.FLOAT, dims=sizes, raw_data=b""))
    path = save(model, tmp_path / "net.onnx")
    for use in (open_model, to_torch):
        with pytest.raises(ModelError, match=r"net\.onnx: tensor 'w0' has sizes that no array can have\. Export"):
            use(path)


def test_a_stored_tensor_may_be_empty(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Resize", net.conv("image", 3, 4), net.weight(np.zeros((0, 7))), net.weight([1.0, 1.0, 2.0, 2.0]))
    assert to_torch(save(net.model([x]), tmp_path / "net.onnx"))(torch.zeros(1, 3, 16, 16)).shape == (1, 4, 28, 28)


def doubled(times: int) -> onnx.ModelProto:
    """A tensor of one number that is concatenated with itself so many times: 2^times numbers."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    y = net.weight(numbers(1))
    for _ in range(times):
        y = net.add("Concat", y, y, axis=0)
    total = net.add("Cast", net.add("ReduceSum", y, keepdims=0), to=TensorProto.FLOAT)
    return net.model([net.conv(net.add("Mul", x, total), 4, 2)])


def test_inference_does_not_compute_long_tensors() -> None:
    began = time.process_time()
    known = infer_shapes(doubled(34), {"image": (1, 3, 16, 16)})
    assert time.process_time() - began < 2
    assert (2**34,) in [shape for shape, _ in known.values()]


def endless() -> onnx.ModelProto:
    """A Loop of 2⁶² rounds, whose result has a size that only running it would tell."""
    net = Net()
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = add_endless_loop(net, x)
    return net.model([net.conv(net.add("Relu", net.conv(x, 4, 4)), 4, 2)])


def test_a_graph_that_never_ends_is_measured_for_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SIZING_SECONDS", 0.2)
    model = open_model(save(endless(), tmp_path / "net.onnx"), options=ModelOptions(size=(16, 16)))
    began = time.monotonic()
    assert Trunk(model).candidates()
    assert time.monotonic() - began < 5


def test_a_large_graph_that_the_runtime_refuses_is_not_run_by_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net((1, 3, 320, 320))
    x = net.add("Relu", net.conv("image", 3, 64, pads=[1] * 4))
    model = net.model([net.add("Reshape", x, net.weight(numbers(7, -1)))])
    monkeypatch.setattr(runtime, "run_reference", lambda *_: pytest.fail("the reference was run"))
    with pytest.raises(OnnxspaceError, match="can't be run by ONNX Runtime"):
        to_torch(model)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_error_of_a_damaged_graph_is_ours(tmp_path: Path, data: st.DataObject) -> None:
    """Mutations that can't crash a library: names, types, sizes and numbers of inputs."""
    model = classifier()
    nodes = list(model.graph.node)
    node = data.draw(st.sampled_from(nodes))
    change = data.draw(st.sampled_from(["operator", "input", "swap", "drop", "bytes", "type", "dims"]))
    if change == "operator":
        node.op_type = data.draw(
            st.sampled_from(["Relu", "Conv", "Concat", "Reshape", "Gemm", "Softmax", "Nothing", "Transpose"])
        )
    elif change == "input":
        node.input.append(data.draw(st.sampled_from([name for each in nodes for name in each.input])))
    elif change == "swap":
        node.input[0] = data.draw(st.sampled_from([name for each in nodes for name in (*each.input, *each.output)]))
    elif change == "drop" and len(node.input) > 1:
        del node.input[-1]
    elif change == "type":
        model.graph.input[0].type.tensor_type.elem_type = data.draw(st.integers(0, 24))
    elif change == "dims":
        model.graph.input[0].type.tensor_type.shape.dim[data.draw(st.integers(0, 3))].dim_value = data.draw(st.integers(-1, 40))
    content = bytearray(model.SerializeToString())
    if change == "bytes":
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, min(400, len(content) - 1)))] = data.draw(st.integers(0, 255))
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    for use in (open_model, to_torch):
        with suppress(OnnxspaceError):  # anything else fails the test
            use(path)
