"""Binary networks: the gradient that they were trained with, for the Sign that binarises and no other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import onnxspace as ox
from onnxspace.model import runtime
from tests.helpers.nets import Net, save
from tests.helpers.noise import probes

BIAS = 0.013  # so that no sum of weights is 0 or 1


def binary(twice: bool, seed: int = 0) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """Two binary convolutions, as larq exports them (`twice`: Sign, +.1, Sign), and their weights."""
    net = Net((1, 3, 8, 8), seed)
    kernels = [np.sign(net.rng.standard_normal((4, n, 3, 3))).astype(np.float32) * np.float32(0.27) for n in (3, 4)]
    x = "image"
    for kernel in kernels:
        x = net.add("Sign", x)
        x = net.add("Sign", net.add("Add", x, net.weight(np.float32(0.1)))) if twice else x
        x = net.add("Conv", x, net.weight(kernel), net.weight(np.full(4, BIAS, np.float32)), pads=[1] * 4)
    return net.model([x]), kernels


def by_hand(x: torch.Tensor, kernels: list[np.ndarray]) -> torch.Tensor:
    """The straight-through estimator in float64: Sign forward, clipped identity backward."""
    for kernel in kernels:
        bounded = x.clamp(-1, 1)
        x = bounded + (torch.where(x >= 0, 1.0, -1.0) - bounded).detach()
        x = torch.nn.functional.conv2d(
            x, torch.from_numpy(kernel).double(), torch.full((4,), BIAS, dtype=torch.float64), padding=1
        )
    return x


@pytest.mark.parametrize("twice", [False, True])
def test_a_binary_network_has_the_gradient_of_its_training(twice: bool) -> None:
    proto, kernels = binary(twice)
    values = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    graph = ox.to_torch(proto)
    x = torch.from_numpy(values).requires_grad_(True)
    made = graph(x)
    np.testing.assert_allclose(made.detach().numpy(), runtime.run(proto, {"image": values})[0], rtol=1e-5, atol=1e-6)
    weights = torch.from_numpy(np.random.default_rng(2).standard_normal(made.shape))
    (found,) = torch.autograd.grad((made * weights).sum(), x)
    exact = torch.from_numpy(values).double().requires_grad_(True)
    (expected,) = torch.autograd.grad((by_hand(exact, kernels) * weights).sum(), exact)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-5)
    assert (found == 0).any()
    assert (found != 0).any()


def test_a_sign_that_does_not_binarise_keeps_its_derivative() -> None:
    """`sign(x) · log(1 + |x|)`: its derivative is 1 / (1 + |x|), to which Sign adds nothing."""
    net = Net((1, 3, 4, 4))
    size = net.add("Log", net.add("Add", net.add("Abs", "image"), net.weight(np.float32(1))))
    out = net.add("Mul", net.add("Sign", "image"), size)
    values = np.random.default_rng(1).standard_normal((1, 3, 4, 4)).astype(np.float32)
    x = torch.from_numpy(values).requires_grad_(True)
    (found,) = torch.autograd.grad(ox.to_torch(net.model([out]))(x).sum(), x)
    np.testing.assert_allclose(found.numpy(), 1 / (1 + np.abs(values)), rtol=1e-4)


def test_maps_of_a_binary_network_are_not_empty(tmp_path: Path) -> None:
    net = Net((1, 3, 16, 16), seed=3)
    x = net.add("Sign", net.conv("image", 3, 8, pads=[1] * 4))
    x = net.add("Conv", x, net.weight(np.sign(net.rng.standard_normal((8, 8, 3, 3))) * 0.1))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", x)))
    path = save(net.model([net.dense(x, 8, 3)]), tmp_path / "net.onnx")
    for method in ("saliency", "elrp"):
        maps = ox.attribute(path, probes(2), method)  # type: ignore[arg-type]
        assert all(np.abs(image).max() > 0 for image in maps)
