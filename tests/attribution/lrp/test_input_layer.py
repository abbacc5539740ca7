"""Rules of the image: rescaling inside the network changes nothing, and paths around the first layer keep their relevance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.attribution.lrp import RULE_SETS, apply_rules
from tests.helpers.nets import Net

Array = NDArray[np.float64]
MEAN, DEVIATION = np.array([10.0, 20.0]), np.array([4.0, -5.0])


def relevance(net: Net, name: str, x: Array, rule: str, bounds: tuple[torch.Tensor, torch.Tensor]) -> tuple[Array, float]:
    """Relevance of `x` and the network's total output."""
    graph = ox.to_torch(net.model([name])).double()
    ruled = apply_rules(graph, RULE_SETS["lrp-composite"].with_(Input=rule, epsilon=1e-12), bounds)
    assert ruled.relevance
    data = torch.from_numpy(x).requires_grad_(True)
    output = ruled.graph(data).sum()
    return torch.autograd.grad(output, data)[0].numpy(), float(output.detach())


@pytest.mark.parametrize("rule", ["flat", "box", "w-square"])
def test_rescaling_and_moving_pixels_inside_the_network_changes_nothing(rule: str) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 2))
    seen = np.pad(((pixels - MEAN) / DEVIATION).transpose(0, 3, 1, 2), ((0, 0), (0, 0), (1, 0), (1, 0)))
    inside, outside = Net(("N", 8, 8, 2)), Net(("N", 2, 9, 9))
    x = inside.add("Div", inside.add("Sub", "image", inside.weight(MEAN)), inside.weight(DEVIATION))
    x = inside.add("Transpose", x, perm=[0, 3, 1, 2])
    x = inside.add("Pad", x, inside.weight(np.array([0, 0, 1, 1, 0, 0, 0, 0])))
    name = inside.add("Conv", inside.add("Relu", inside.conv(x, 2, 4)), inside.random(3, 4, 3, 3))
    for _ in range(3):
        outside.weight(np.zeros(1))
    plain = outside.add("Conv", outside.add("Relu", outside.conv("image", 2, 4)), outside.random(3, 4, 3, 3))
    ends = (torch.zeros(1, 1, 1, 2), torch.full((1, 1, 1, 2), 255.0))
    found, _ = relevance(inside, name, pixels, rule, ends)
    low, high = (
        np.pad(((np.full((1, 8, 8, 2), end) - MEAN) / DEVIATION).transpose(0, 3, 1, 2), ((0, 0), (0, 0), (1, 0), (1, 0)))
        for end in (0, 255)
    )
    expected, _ = relevance(outside, plain, seen, rule, (torch.from_numpy(low), torch.from_numpy(high)))
    np.testing.assert_allclose(found, expected[:, :, 1:, 1:].transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", ["flat", "box", "w-square"])
def test_relevance_around_the_first_layer_arrives_as_well(rule: str) -> None:
    """The image goes to two convolutions and, beside them, straight to a sum; without biases nothing is lost."""
    net = Net(("N", 4, 8, 8))
    first = net.add("Relu", net.conv("image", 4, 4, pads=[1] * 4))
    second = net.conv("image", 4, 4, 1)
    total = net.add("Add", net.add("Add", first, second), net.add("Transpose", "image", perm=[0, 1, 3, 2]))
    x = np.random.default_rng(1).uniform(-1, 1, (2, 4, 8, 8))
    bounds = (torch.full((1, 4, 1, 1), -1.0), torch.full((1, 4, 1, 1), 1.0))
    found, output = relevance(net, total, x, rule, bounds)
    assert found.sum() == pytest.approx(output, rel=1e-6)


def test_without_bounds_the_box_is_flat() -> None:
    net = Net()
    graph = ox.to_torch(net.model([net.conv("image", 3, 4)]))
    x = torch.randn(1, 3, 16, 16, requires_grad=True)
    flat = RULE_SETS["lrp-composite"].with_(Input="flat")
    maps = [torch.autograd.grad(apply_rules(graph, rules).graph(x).sum(), x)[0] for rules in ("lrp-composite", flat)]
    torch.testing.assert_close(*maps)
