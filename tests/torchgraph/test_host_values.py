"""Shapes, axes and sizes are numbers in the graph: stored ones, and those that follow from sizes of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch.fx import GraphModule

from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.model import open_model
from onnxspace.torchgraph.build import build
from onnxspace.torchgraph.encoder_graph import convert
from onnxspace.torchgraph.host_values import Size, fold_sizes, store_host_values
from onnxspace.torchgraph.view import operator_of
from tests.helpers.nets import Net, save
from tests.helpers.sized_nets import resizing


def operators(graph: GraphModule) -> set[str]:
    return {operator_of(node) for node in graph.graph.nodes} - {""}


def folded(proto: onnx.ModelProto, shape: tuple[int, ...]) -> GraphModule:
    graph = build(proto, "net")
    store_host_values(graph)
    fold_sizes(graph, shape)
    return graph


def run(proto: onnx.ModelProto, x: torch.Tensor) -> np.ndarray:  # type: ignore[type-arg]
    return np.asarray(runtime.run(proto, {"image": x.numpy()})[0])


def test_a_network_has_no_shapes_left_and_takes_any_number_of_images(tmp_path: Path) -> None:
    net = resizing()
    proto = net.model([net.nodes[-1].output[0]])
    converted = convert(open_model(save(proto, tmp_path / "net.onnx")), Probes.generate(2, size=16).images)
    assert converted.batchable
    assert not operators(converted.graph) & {"Shape", "Gather"}
    for images in (1, 2, 4, 7):
        x = torch.randn(images, 3, 16, 16, generator=torch.Generator().manual_seed(images))
        expected = np.concatenate([run(proto, x[i : i + 1]) for i in range(images)])
        np.testing.assert_allclose(converted.graph(x).numpy().reshape(images, -1), expected.reshape(images, -1), atol=1e-5)


@pytest.mark.parametrize("images", [1, 2, 3, 6])
def test_sizes_are_a_multiple_of_the_images_and_a_remainder(images: int) -> None:
    """A shape of 2 · images + 1 rows, a Range over the images, and their number as a value that is computed with."""
    net = Net(("N", 3, 4, 4))
    count = net.add("Gather", net.add("Shape", "image"), net.weight(np.array(0)), axis=0)
    rows = net.add("Add", net.add("Mul", count, net.weight(np.array(2))), net.weight(np.array(1)))
    shape = net.add("Concat", net.add("Unsqueeze", rows, net.weight(np.array([0]))), net.weight(np.array([3])), axis=0)
    wide = net.add("Expand", net.random(1, 3), shape)
    places = net.add("Range", net.weight(np.array(0)), count, net.weight(np.array(1)))
    means = net.add("ReduceSum", net.add("Gather", "image", places, axis=0), net.weight(np.array([2, 3])), keepdims=0)
    scaled = net.add("Mul", means, net.add("Cast", count, to=onnx.TensorProto.FLOAT))
    proto = net.model([net.add("Concat", wide, scaled, axis=0)])
    graph = folded(proto, (1, 3, 4, 4))
    assert any(isinstance(module, Size) for module in graph.modules())
    x = torch.randn(images, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(graph(x).numpy(), run(proto, x), rtol=1e-5, atol=1e-6)


def test_sizes_that_several_operators_read_are_stored_apart() -> None:
    """One size is read twice by operators on tensors, and another after it."""
    net = Net(("N", 3, 4, 4))
    sizes = net.add("Shape", "image")
    channels, rows = (net.add("Gather", sizes, net.weight(np.array([axis])), axis=0) for axis in (1, 2))
    first, second = (net.add("Cast", size, to=onnx.TensorProto.FLOAT) for size in (channels, rows))
    x = net.add("Mul", net.add("Mul", net.add("ReduceMean", "image", axes=[1, 2, 3], keepdims=0), first), first)
    proto = net.model([net.add("Add", net.add("Sub", x, second), second)])
    graph = folded(proto, (1, 3, 4, 4))
    image = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(graph(image).numpy(), run(proto, image), rtol=1e-5, atol=1e-6)


def test_what_depends_on_values_stays() -> None:
    net = Net(("N", 3, 4, 4))
    count = net.add("Shape", net.add("NonZero", net.add("Relu", "image")))
    proto = net.model([net.add("Cast", count, to=onnx.TensorProto.FLOAT)])
    graph = folded(proto, (1, 3, 4, 4))
    assert {"NonZero", "Shape"} <= operators(graph)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    np.testing.assert_array_equal(graph(x).numpy(), run(proto, x))


def test_stored_numbers_of_a_body_are_lists_too() -> None:
    net = Net((2, 3, 4, 4))
    branch = helper.make_graph(
        [helper.make_node("Reshape", ["image", "shape"], ["flat"])],
        "branch",
        [],
        [helper.make_tensor_value_info("flat", 1, None)],
    )
    net.weights.append(onnx.numpy_helper.from_array(np.array([2, 48]), "shape"))
    proto = net.model([net.add("If", net.weight(np.array(True)), then_branch=branch, else_branch=branch)])
    graph = folded(proto, (2, 3, 4, 4))
    body = next(module for name, module in graph.named_modules() if name.endswith("then"))
    assert isinstance(body, GraphModule)
    assert [list(node.args[1]) for node in body.graph.nodes if operator_of(node) == "Reshape"] == [[2, 48]]
    assert graph(torch.zeros(2, 3, 4, 4)).shape == (2, 48)
