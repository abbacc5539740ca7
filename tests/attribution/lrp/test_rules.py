"""Every rule on converted networks against float64 twins written from the papers, and on native ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.attribution.lrp import RULE_SETS, RuleSet, apply_rules
from tests.helpers.nets import Net
from tests.oracles.lrp import Layer, Rules, relevance

Array = NDArray[np.float64]
CHANNELS, SIZE = 2, 6
LOW, HIGH = -2.0, 2.5
LAYERS: dict[str, list[Any]] = {
    "relu": ["conv", "Relu", "conv", "Relu", "mean", "dense"],
    "padded": ["conv-pad", "Relu", "maxpool", "conv", "Relu", "flat", "dense", "Relu", "dense"],
    "bn": ["conv", "bn", "Relu", "conv", "bn", "Relu", "mean"],
    "residual": ["conv", "bn", "Relu", ["conv-pad", "bn", "Relu", "conv-pad", "bn"], "Relu", "mean", "dense"],
    "silu": ["conv", "Silu", "conv", "bn", "Silu", "flat", "dense"],
    "gelu": ["conv", "Gelu", "mean", "dense", "Gelu", "dense"],
    "sigmoid": ["conv", "Sigmoid", "flat", "dense"],
}
TWINS: dict[str, Rules] = {
    "lrp-epsilon": Rules("epsilon", "epsilon"),
    "lrp-gamma": Rules("gamma", "gamma"),
    "lrp-zplus": Rules("zplus", "zplus"),
    "lrp-alpha-beta": Rules("alpha-beta", "alpha-beta"),
    "lrp-composite": Rules("gamma", "epsilon", "box", low=LOW, high=HIGH),
}
SETS = list(TWINS)


class Twins:
    """A network as ONNX and as the twin's layers, with the same weights."""

    def __init__(self, recipe: Sequence[Any], seed: int = 0) -> None:
        self.net = Net(("N", CHANNELS, SIZE, SIZE), seed)
        self.channels, self.size = CHANNELS, SIZE
        name, self.layers = self.build(recipe, "image")
        self.model = self.net.model([name], opset=20)

    def values(self, *shape: int, scale: float = 1.0) -> Array:
        return (self.net.rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)

    def build(self, recipe: Sequence[Any], name: str) -> tuple[str, list[Layer]]:
        layers: list[Layer] = []
        for item in recipe:
            made = self.residual(item, name) if isinstance(item, list) else self.layer(item, name)
            name = made[0]
            layers += made[1]
        return name, layers

    def residual(self, recipe: Sequence[Any], name: str) -> tuple[str, list[Layer]]:
        inner, layers = self.build(recipe, name)
        return self.net.add("Add", name, inner), [("residual", layers)]

    def layer(self, item: str, x: str) -> tuple[str, list[Layer]]:
        net = self.net
        if item.startswith("conv"):
            w, b, pad = self.values(3, self.channels, 3, 3, scale=0.4), self.values(3, scale=0.3), int(item == "conv-pad")
            self.channels, self.size = 3, self.size + 2 * pad - 2
            return net.add("Conv", x, net.weight(w), net.weight(b), pads=[pad] * 4), [("conv", w, b, pad)]
        if item == "bn":
            scale, shift = self.values(self.channels), self.values(self.channels, scale=0.3)
            zero, one = net.weight(np.zeros(self.channels)), net.weight(np.ones(self.channels))
            made = net.add("BatchNormalization", x, net.weight(scale), net.weight(shift), zero, one, epsilon=0.0)
            return made, [("bn", scale, shift)]
        if item == "dense":
            inputs = self.channels * self.size * self.size
            w, b = self.values(4, inputs, scale=0.5), self.values(4, scale=0.3)
            self.channels, self.size = 4, 1
            return net.add("Gemm", x, net.weight(w), net.weight(b), transB=1), [("dense", w, b)]
        if item == "mean":
            self.size = 1
            return net.add("Flatten", net.add("GlobalAveragePool", x)), [("mean",)]
        if item == "flat":
            return net.add("Flatten", x), []
        if item == "maxpool":
            self.size //= 2
            return net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), [("maxpool", 2)]
        if item == "Silu":
            return net.add("Mul", x, net.add("Sigmoid", x)), [("act", "Silu")]
        return net.add(item, x), [("act", item)]


def image(seed: int = 5) -> Array:
    return np.random.default_rng(seed).uniform(LOW, HIGH, (CHANNELS, SIZE, SIZE))


def found(model: Any, rules: str | RuleSet, x: Array, dtype: torch.dtype = torch.float64) -> Array:
    """Relevance of one image by our rules."""
    graph = model if isinstance(model, torch.fx.GraphModule) else ox.to_torch(model)
    bounds = tuple(torch.full((1, CHANNELS, 1, 1), value) for value in (LOW, HIGH))
    ruled = apply_rules(graph.to(dtype), rules, bounds)  # type: ignore[arg-type]
    data = torch.from_numpy(x[None]).to(dtype).requires_grad_(True)
    (gradient,) = torch.autograd.grad(ruled.graph(data).sum(), data)
    made = gradient if ruled.relevance else gradient * data
    return made[0].detach().double().numpy()  # type: ignore[no-any-return]


def cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("network", LAYERS)
@pytest.mark.parametrize("name", SETS)
def test_rules_equal_their_twins_on_converted_networks(name: str, network: str) -> None:
    twins = Twins(LAYERS[network])
    expected = relevance(twins.layers, image(), TWINS[name])
    peak = np.abs(expected).max()  # batch normalisation was merged in single precision, before the graph became double
    np.testing.assert_allclose(found(twins.model, name, image()), expected, rtol=1e-5, atol=1e-6 * peak)


@pytest.mark.parametrize("network", ["padded", "bn", "residual", "silu"])
@pytest.mark.parametrize("name", SETS)
def test_rules_hold_in_single_precision(name: str, network: str) -> None:
    twins = Twins(LAYERS[network])
    expected = relevance(twins.layers, image(), TWINS[name])
    assert cosine(found(twins.model, name, image(), torch.float32), expected) >= 0.9999


@pytest.mark.parametrize("rule", ["flat", "box", "w-square"])
def test_rules_of_the_image(rule: str) -> None:
    twins = Twins(LAYERS["padded"])
    expected = relevance(twins.layers, image(), Rules("zplus", "epsilon", rule, low=LOW, high=HIGH))
    rules = RULE_SETS["lrp-composite"].with_(Conv="zplus", Input=rule)
    np.testing.assert_allclose(found(twins.model, rules, image()), expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
