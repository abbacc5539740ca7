"""Model-local functions: defaults, overrides and nesting mean what ONNX Runtime makes of the file, and what differs is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import onnxspace as ox
from onnxspace.errors import ConversionError, ModelError
from onnxspace.model import functions
from onnxspace.model.model import open_model
from onnxspace.model.reader import read_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.nets import Net, save

DOMAIN = "local"
SHAPE = (1, 3, 8, 8)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]


def leak(name: str = "leak", given: Any = 0.9, attribute: str = "slope") -> onnx.FunctionProto:
    """A function with a slope, whose default is `given` (None: it has none)."""
    node = helper.make_node("LeakyRelu", ["i"], ["o"])
    node.attribute.append(reference("alpha", attribute, onnx.AttributeProto.FLOAT))
    return function(name, [node], {attribute: given})


def reference(name: str, outer: str, kind: int) -> onnx.AttributeProto:
    return onnx.AttributeProto(name=name, ref_attr_name=outer, type=kind)  # type: ignore[arg-type]


def function(name: str, nodes: list[onnx.NodeProto], attributes: dict[str, Any]) -> onnx.FunctionProto:
    plain = [key for key, value in attributes.items() if value is None]
    defaults = [helper.make_attribute(key, value) for key, value in attributes.items() if value is not None]
    return helper.make_function(DOMAIN, name, ["i"], ["o"], nodes, OPSETS, plain, defaults)


def passing_on(inner: str, given: Any, outer: str = "steepness") -> onnx.FunctionProto:
    """A function that calls `inner` with its own attribute."""
    call = helper.make_node(inner, ["i"], ["o"], domain=DOMAIN)
    call.attribute.append(reference("slope", outer, onnx.AttributeProto.FLOAT))
    return function("outer", [call], {outer: given})


def shift(values: Any) -> onnx.FunctionProto:
    """A function that adds a tensor, which is the default of its attribute."""
    stored = helper.make_node("Constant", [], ["c"])
    stored.attribute.append(reference("value", "offset", onnx.AttributeProto.TENSOR))
    added = helper.make_node("Add", ["i", "c"], ["o"])
    return function("shift", [stored, added], {"offset": numpy_helper.from_array(np.asarray(values, np.float32))})


def branch() -> onnx.FunctionProto:
    """A function with a graph as the default of its attribute."""
    one = helper.make_graph([helper.make_node("Neg", ["i"], ["n"])], "b", [], [helper.make_tensor_value_info("n", 1, SHAPE)])
    flag = helper.make_node("Constant", [], ["f"], value=numpy_helper.from_array(np.asarray(True)))
    choice = helper.make_node("If", ["f"], ["o"])
    for name in ("then_branch", "else_branch"):
        choice.attribute.append(reference(name, "body", onnx.AttributeProto.GRAPH))
    return function("branch", [flag, choice], {"body": one})


def model(call: str, attributes: dict[str, Any], *made: onnx.FunctionProto) -> onnx.ModelProto:
    """Convolution, a call, convolution, with an output that is linear in the call."""
    net = Net(SHAPE)
    called = net.add(call, net.conv("image", 3, 3, pads=[1, 1, 1, 1]), domain=DOMAIN, **attributes)
    found = net.model([net.conv(called, 3, 2)])
    del found.opset_import[:]
    found.opset_import.extend(OPSETS)
    found.functions.extend(made)
    return found


MODELS = {
    "default": model("leak", {}, leak()),
    "override": model("leak", {"slope": 0.3}, leak()),
    "no default, given": model("leak", {"slope": 0.3}, leak(given=None)),
    "no default, not given": model("leak", {}, leak(given=None)),
    "nested, both default": model("outer", {}, leak(), passing_on("leak", 0.2)),
    "nested, outer override": model("outer", {"steepness": 0.4}, passing_on("leak", 0.2), leak()),
    "nested, outer left out": model("outer", {}, leak(), passing_on("leak", None)),
    "nested, outer given": model("outer", {"steepness": 0.4}, leak(), passing_on("leak", None)),
    "graph": model("branch", {}, branch()),
    "tensor": model("shift", {}, shift([[[[2.0]]]])),
    "tensor override": model(
        "shift", {"offset": numpy_helper.from_array(np.full((1, 1, 1, 1), -3, np.float32))}, shift([[[[2.0]]]])
    ),
}


def outputs_of_file(path: Path, image: np.ndarray[Any, Any]) -> Any:
    """What ONNX Runtime makes of the file's bytes."""
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]


@pytest.mark.parametrize("name", MODELS)
def test_defaults_of_functions_are_kept(name: str, tmp_path: Path) -> None:
    path = save(MODELS[name], tmp_path / "net.onnx")
    image = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    expected = outputs_of_file(path, image)
    for source in (path, onnx.load(path), open_model(path)):
        found = ox.to_torch(source)(torch.from_numpy(image)).detach().numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_same_network_with_and_without_functions_has_the_same_maps(tmp_path: Path) -> None:
    spellings = [MODELS["default"], model("leak", {"slope": 0.9}, leak(given=None))]
    files = [save(each, tmp_path / f"{number}.onnx") for number, each in enumerate(spellings)]
    graphs = [convert(open_model(file), IMAGES).graph for file in files]
    image = torch.randn(2, *SHAPE[1:])
    torch.testing.assert_close(graphs[0](image), graphs[1](image))


def test_the_file_itself_is_not_changed(tmp_path: Path) -> None:
    path = save(MODELS["nested, both default"], tmp_path / "net.onnx")
    network, _ = read_model(path)
    assert network.source is not None
    assert network.source.proto.SerializeToString(deterministic=True) == MODELS["nested, both default"].SerializeToString(
        deterministic=True
    )
    assert not network.proto.functions
    assert network.with_outputs(["t0"]).source is None


def test_an_inlining_that_changes_the_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is the file: were defaults lost again, neither maps nor features would be computed."""
    monkeypatch.setattr(functions, "_inline", onnx.inliner.inline_local_functions)
    path = save(MODELS["default"], tmp_path / "net.onnx")
    for use in (ox.to_torch, lambda file: convert(open_model(file), IMAGES)):
        with pytest.raises(ConversionError, match=r"net.onnx: its output 't2' changes when .* Export it without them"):
            use(path)


def test_a_tensor_of_a_default_is_checked_like_any_other(tmp_path: Path) -> None:
    broken = model("shift", {}, shift([[[[2.0]]]]))
    broken.functions[0].attribute_proto[0].t.dims[0] = 2**40
    with pytest.raises(ModelError, match="holds fewer or more values than its shape requires"):
        read_model(save(broken, tmp_path / "net.onnx"))
    outside = model("shift", {}, shift([[[[2.0]]]]))
    tensor = outside.functions[0].attribute_proto[0].t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    tensor.ClearField("raw_data")
    with pytest.raises(ModelError, match="outside the model's folder"):
        read_model(save(outside, tmp_path / "out.onnx"))
