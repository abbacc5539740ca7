"""Quantised graphs: the standard's arithmetic forward, straight-through gradients backward."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import onnxspace as ox
from onnxspace.model import runtime
from onnxspace.torchgraph.operators.quantised import Dequantize, Quantize
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes


def test_rounding_is_half_to_even_and_saturates() -> None:
    x = torch.tensor([-300.0, -1.5, -0.5, 0.5, 1.5, 2.5, 300.0])
    found = Quantize(1)(x, torch.tensor(1.0), torch.tensor(0, dtype=torch.int8))
    assert found.tolist() == [-128, -2, 0, 0, 2, 2, 127]


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_quantise_equals_onnx_runtime(tmp_path: Path, kind: type) -> None:
    net = Net(("N", 3, 8, 8))
    scale, zero = net.weight(np.float32(0.021)), net.weight(np.array(7, kind))
    x = net.conv("image", 3, 4)
    out = net.add("DequantizeLinear", net.add("QuantizeLinear", x, scale, zero), scale, zero)
    proto = net.model([out])
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        ours = ox.to_torch(save(proto, tmp_path / "net.onnx"))(torch.from_numpy(images)).numpy()
    theirs = runtime.run_each(proto, images, optimise=False)[0]
    assert np.abs(ours - theirs).max() <= 0.0211
    assert (np.abs(ours - theirs) < 1e-6).mean() > 0.99


def test_gradient_is_one_inside_the_range_and_zero_where_it_saturates() -> None:
    x = torch.tensor([-2.0, -0.3, 0.2, 0.7, 30.0], requires_grad=True)
    scale, zero = torch.tensor(0.1), torch.tensor(-128, dtype=torch.int8)
    y = Dequantize(1)(Quantize(1)(x, scale, zero), scale, zero)
    torch.testing.assert_close(y.detach(), torch.tensor([0.0, 0.0, 0.2, 0.7, 25.5]))
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0]))


def test_scales_along_an_axis() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    scale, zero = torch.tensor([1.0, 0.5, 0.25]), torch.tensor([0, 1, 2], dtype=torch.uint8)
    found = Quantize(1)(x, scale, zero)
    assert found.tolist() == [[0, 3, 10], [3, 9, 22]]
    torch.testing.assert_close(Dequantize(1)(found, scale, zero), x)


def small_classifier(quantised: bool) -> onnx.ModelProto:
    """A network, and its int8 form: weights per channel, activations per tensor, calibrated by hand."""
    net = Net(("N", 3, 16, 16), seed=2)

    def weights(*shape: int) -> str:
        values = (net.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        if not quantised:
            return net.weight(values)
        scale = np.abs(values).reshape(shape[0], -1).max(axis=1) / 127
        stored = np.round(values / scale.reshape(-1, *[1] * (len(shape) - 1))).astype(np.int8)
        zeros = np.zeros(shape[0], np.int8)
        return net.add("DequantizeLinear", net.weight(stored), net.weight(scale), net.weight(zeros), axis=0)

    def activation(x: str) -> str:
        if not quantised:
            return net.add("Relu", x)
        scale, zero = net.weight(np.float32(5 / 255)), net.weight(np.array(-128, np.int8))
        return net.add("DequantizeLinear", net.add("QuantizeLinear", x, scale, zero), scale, zero)

    x = activation(net.add("Conv", "image", weights(8, 3, 3, 3), pads=[1] * 4))
    x = activation(net.add("Conv", x, weights(8, 8, 3, 3), pads=[1] * 4, strides=[2, 2]))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(x, 8, 3)])


def test_an_int8_network_looks_at_what_its_float_parent_looks_at(tmp_path: Path) -> None:
    """Saturation at the zero point stands for ReLU: with it the maps agree, and without it they would not."""
    paths = [save(small_classifier(q), tmp_path / f"{q}.onnx") for q in (False, True)]
    assert [n.op_type for n in onnx.load(paths[1]).graph.node].count("Relu") == 0
    first, second = (ox.attribute(path, probes(4), "gradient-x-input") for path in paths)
    assert worst_cosine(first, second) > 0.98
