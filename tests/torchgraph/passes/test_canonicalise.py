"""Operators written in pieces give the map of the operator, whatever the exporter's formula, and merged ones that of pieces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import onnxspace as ox
from onnxspace.torchgraph.passes.known_activations import KNOWN
from onnxspace.torchgraph.view import operator_from_name
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes
from tests.helpers.written_out import Write, gelu_erf, gelu_tanh, scalar, silu


def silu_as_quotient(net: Net, x: str) -> str:
    return net.add("Div", x, net.add("Add", scalar(net, 1), net.add("Exp", net.add("Neg", x))))


def gelu_erf_scaled_last(net: Net, x: str) -> str:
    product = net.add("Mul", net.add("Add", scalar(net, 1), net.add("Erf", net.add("Mul", x, scalar(net, 0.5**0.5)))), x)
    return net.add("Mul", product, scalar(net, 0.5))


def hardswish(net: Net, x: str) -> str:
    gate = net.add("Clip", net.add("Add", x, scalar(net, 3)), scalar(net, 0), scalar(net, 6))
    return net.add("Div", net.add("Mul", x, gate), scalar(net, 6))


def hardswish_by_hard_sigmoid(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def mish(net: Net, x: str) -> str:
    return net.add("Mul", x, net.add("Tanh", net.add("Softplus", x)))


FORMS: list[tuple[Write, Callable[[torch.Tensor], torch.Tensor]]] = [
    (silu, torch.nn.functional.silu),
    (silu_as_quotient, torch.nn.functional.silu),
    (gelu_erf, torch.nn.functional.gelu),
    (gelu_erf_scaled_last, torch.nn.functional.gelu),
    (gelu_tanh, lambda x: torch.nn.functional.gelu(x, approximate="tanh")),
    (hardswish, torch.nn.functional.hardswish),
    (hardswish_by_hard_sigmoid, torch.nn.functional.hardswish),
    (mish, torch.nn.functional.mish),
]


def network(write: Write, folder: Path) -> Path:
    """Three convolutions, an activation after each; the last one under a residual connection."""
    net = Net(("N", 3, 12, 12))
    x = write(net, net.conv("image", 3, 6))
    x = write(net, net.conv(x, 6, 6))
    z = net.conv(x, 6, 6, pads=[1] * 4)
    x = net.add("Add", z, write(net, z))
    return save(net.model([net.conv(x, 6, 2, 8)]), folder / "net.onnx")


def ratio_twin(images: np.ndarray, path: Path, function: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """ε-LRP of that network in float64: plain convolutions and a custom derivative, no graph conversion."""
    weights = [onnx.numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    first, second, third = (torch.from_numpy(w.copy()).double() for w in weights if w.ndim == 4 and w.shape[2] == 3)

    def activation(z: torch.Tensor) -> torch.Tensor:
        ratio = function(z) / (z + torch.where(z >= 0, 1e-4, -1e-4))
        return z * ratio.detach()

    x = torch.from_numpy(images).double().requires_grad_(True)
    y = activation(torch.conv2d(x, first))
    z = torch.conv2d(activation(torch.conv2d(y, second)), third, padding=1)
    (gradient,) = torch.autograd.grad((z + activation(z)).sum(), x)
    return (x * gradient).mean(dim=1).detach().numpy()


@pytest.mark.parametrize(("write", "function"), FORMS, ids=[write.__name__ for write, _ in FORMS])
def test_maps_are_those_of_the_whole_activation(tmp_path: Path, write: Write, function: Callable[..., torch.Tensor]) -> None:
    path = network(write, tmp_path)
    model = ox.open_model(path)
    images = probes(3, 12)
    found = ox.attribute(model, images)
    assert worst_cosine(found, ratio_twin(model.preprocess(images.images), path, function)) >= 0.9999


@pytest.mark.parametrize(("write", "function"), FORMS, ids=[write.__name__ for write, _ in FORMS])
def test_fusion_does_not_change_what_is_computed(tmp_path: Path, write: Write, function: Callable[..., torch.Tensor]) -> None:
    net = Net(("N", 3, 6, 6))
    graph = ox.to_torch(save(net.model([write(net, net.conv("image", 3, 4))]), tmp_path / "net.onnx"))
    made = [operator_from_name(name) for name, _ in graph.named_children() if name not in ("weights", "merged")]
    assert made[0] == "Conv"
    assert len(made) == 2
    assert made[1] in ("Activation", *KNOWN)
    weight = next(t for t in net.weights if len(t.dims) == 4)
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = function(torch.conv2d(x, torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())))
    torch.testing.assert_close(graph(x), expected, rtol=1e-4, atol=1e-5)


def test_gates_by_another_tensor_and_shared_pieces_stay_apart(tmp_path: Path) -> None:
    """A squeeze-and-excitation gate depends on another tensor, and a sigmoid that is used twice is nobody's piece."""
    net = Net(("N", 3, 6, 6))
    x = net.conv("image", 3, 4)
    gated = net.add("Mul", x, net.add("Sigmoid", net.add("GlobalAveragePool", x)))
    z = net.conv("image", 3, 4)
    gate = net.add("Sigmoid", z)
    shared = net.add("Add", net.add("Mul", z, gate), net.add("GlobalAveragePool", gate))
    graph = ox.to_torch(save(net.model([net.add("Add", gated, shared)]), tmp_path / "net.onnx"))
    assert not [name for name, _ in graph.named_children() if operator_from_name(name) in ("Activation", *KNOWN)]
