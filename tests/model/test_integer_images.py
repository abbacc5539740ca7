"""Images of integers of 16 bits and more, and of bfloat16: fed as such, with the gradient of the network of real numbers behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import onnxspace as ox
from onnxspace.checking.child.outputs import observe_outputs
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.encoder import find_encoder
from onnxspace.model.features import write_features
from onnxspace.model.model import open_model
from tests.helpers import nets

PROBES = Probes.generate(3, 32)
WHOLE = ["UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64"]


def pixels(kind: str, divisor: float | None = 255.0, shift: int = 0) -> onnx.ModelProto:
    """A network for pixels of a type, from which a whole number may be subtracted before they are converted and divided."""
    number = getattr(TensorProto, kind)
    net = nets.Net(("N", 3, 16, 16), elem_type=number)
    x = "image"
    if shift:
        x = net.add("Sub", x, net.weight(np.array(shift, helper.tensor_dtype_to_np_dtype(number))))
    x = net.add("Cast", x, to=TensorProto.FLOAT)
    x = x if divisor is None else net.add("Div", x, net.weight(np.array([divisor])))
    x = net.add("Relu", net.conv(x, 3, 8))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv(x, 8, 4))))
    return net.model([net.dense(x, 4, 3)])


@pytest.mark.parametrize(("kind", "shift"), [*((kind, 0) for kind in WHOLE), ("INT32", 100), ("INT64", 100)])
def test_features_are_those_of_the_file_and_maps_those_of_its_float_twin(kind: str, shift: int, tmp_path: Path) -> None:
    model = open_model(nets.save(pixels(kind, 255.0, shift), tmp_path / "whole.onnx"))
    encoder = find_encoder(model)
    resized = model.preprocess.pixels(PROBES.images).transpose(0, 3, 1, 2)
    given = resized.astype(helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind)))
    expected = runtime.run(model.network.with_outputs(encoder.tensors), {"image": given})[0]
    found = write_features(model, encoder, PROBES.images, tmp_path / "features.npy").values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    twin = open_model(nets.save(pixels("FLOAT", 255.0, shift), tmp_path / "float.onnx"))
    maps = [ox.attribute(one, PROBES, "gradient-x-input") for one in (model, twin)]
    assert maps[0].any()
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("divisor", "top", "origin"), [(255.0, 255, "read"), (65535.0, 65535, "read"), (None, 255, "guessed")])
def test_the_range_is_that_of_bytes_unless_the_graph_says_another(
    divisor: float | None, top: float, origin: str, tmp_path: Path
) -> None:
    model = open_model(nets.save(pixels("UINT16", divisor), tmp_path / "net.onnx"))
    ends = model.preprocess.values(np.array([[[[0] * 3]], [[[255] * 3]]], np.uint8))
    np.testing.assert_allclose([ends.min(), ends.max()], [0, top], rtol=1e-6)
    assert model.pixels is not None
    assert model.pixels.origin == origin


def test_a_stated_range_counts(tmp_path: Path) -> None:
    file = nets.save(pixels("INT32", None), tmp_path / "net.onnx")
    model = open_model(file, options=ModelOptions(scale=4095 / 255))
    assert model.preprocess.values(np.full((1, 1, 1, 3), 255, np.uint8)).max() == pytest.approx(4095)
    with pytest.raises(ConfigError, match=r"net\.onnx takes integers, which can't hold the range that is stated"):
        open_model(file, options=ModelOptions(pixels="unit"))


def test_bfloat16(tmp_path: Path) -> None:
    model, twin = (open_model(nets.save(pixels(kind), tmp_path / f"{kind.lower()}.onnx")) for kind in ("BFLOAT16", "FLOAT"))
    assert nets.worst_cosine(ox.attribute(model, PROBES), ox.attribute(twin, PROBES)) >= 0.9999
    signals = [observe_outputs(one, PROBES.images)[0] for one in (model, twin)]
    assert signals[0].keys() == signals[1].keys()
    for name, one in signals[0].items():
        np.testing.assert_allclose(one.lengths, signals[1][name].lengths, rtol=1e-5)


def test_integers_beside_an_image_are_none(tmp_path: Path) -> None:
    proto = pixels("FLOAT")
    proto.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.INT32, ("N", 1, 16, 16)))
    assert open_model(nets.save(proto, tmp_path / "net.onnx")).image.name == "image"


def test_token_ids_are_no_image(tmp_path: Path) -> None:
    net = nets.Net((1, 144), elem_type=TensorProto.INT64)
    x = net.add("Gather", net.random(50, 8), "image", axis=0)
    file = nets.save(net.model([net.dense(net.add("ReduceMean", x, axes=[1], keepdims=0), 8, 3)]), tmp_path / "text.onnx")
    with pytest.raises(ModelError, match=r"text\.onnx has no image input: it takes image 1×144"):
        open_model(file)


def test_a_type_of_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx takes image \?×3×16×16, of type bool, which no image has\. Export it"):
        open_model(nets.save(pixels("BOOL"), tmp_path / "net.onnx"))
