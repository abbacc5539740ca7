"""Sparse tensors: the same network as ONNX Runtime makes of the file, and a sentence for those that are not valid."""

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
from onnxspace.errors import ModelError
from onnxspace.model.model import open_model
from onnxspace.model.reader import read_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.nets import Net, save

SHAPE = (1, 3, 8, 8)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)


def sparse(indices: Any, dims: list[int], values: Any = (2.0, 3.0)) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(
        numpy_helper.from_array(np.asarray(values, np.float32), "kept"),
        numpy_helper.from_array(np.asarray(indices), "places"),
        dims,
    )


def model(stored: onnx.SparseTensorProto) -> onnx.ModelProto:
    """Convolution, multiplied by a sparse tensor, convolution."""
    net = Net(SHAPE)
    scaled = net.add("Mul", net.conv("image", 3, 3), "kept")
    found = net.model([net.conv(scaled, 3, 2)])
    found.graph.sparse_initializer.append(stored)
    return found


def as_attribute(stored: onnx.SparseTensorProto) -> onnx.ModelProto:
    """The same with the tensor in a node."""
    net = Net(SHAPE)
    scaled = net.add("Mul", net.conv("image", 3, 3), net.add("Constant", sparse_value=stored))
    return net.model([net.conv(scaled, 3, 2)])


@pytest.mark.parametrize("make", [model, as_attribute])
@pytest.mark.parametrize(
    ("indices", "dims"),
    [([0, 2], [3, 1, 1]), ([[0, 0, 0], [2, 0, 0]], [3, 1, 1]), ([1, 5], [6, 6])],
    ids=["linear", "coordinates", "matrix"],
)
def test_sparse_tensors_mean_what_the_runtime_makes_of_them(make: Any, indices: Any, dims: list[int], tmp_path: Path) -> None:
    path = save(make(sparse(indices, dims)), tmp_path / "net.onnx")
    image = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    expected = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
    np.testing.assert_allclose(ox.to_torch(path)(torch.from_numpy(image)).detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(ox.to_torch(onnx.load(path))(torch.from_numpy(image)).detach().numpy(), expected, atol=1e-5)
    assert convert(open_model(path), IMAGES).batchable


@pytest.mark.parametrize("make", [model, as_attribute])
@pytest.mark.parametrize(
    ("indices", "dims"),
    [
        ([1, 1], [3, 1, 1]), ([2, 0], [3, 1, 1]), ([0, 3], [3, 1, 1]), ([-1, 0], [3, 1, 1]), ([0], [3, 1, 1]), ([0, 1, 2], [3, 1, 1]),
        ([[0, 0, 0], [0, 0, 0]], [3, 1, 1]), ([[0, 1, 0], [2, 0, 0]], [3, 1, 1]), ([[0], [2]], [3, 1, 1]),
        (np.asarray([0, 2], np.int32), [3, 1, 1]), ([0, 1], [2**20, 2**20]), ([0, 1], [-3, 1, 1]), ([0, 1], []),
    ],
)  # fmt: skip
def test_sparse_tensors_that_are_not_valid_are_refused(make: Any, indices: Any, dims: list[int], tmp_path: Path) -> None:
    path = save(make(sparse(indices, dims)), tmp_path / "net.onnx")
    with pytest.raises(
        ModelError, match=r"net.onnx: the sparse tensor 'kept' .*\. (Export the model again|Store it densely)\."
    ):
        read_model(path)
