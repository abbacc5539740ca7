"""Our rules against zennit and captum, where both are right, and what holds without a peer: conservation and invariance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn, zeros

import onnxspace as ox
from onnxspace.attribution.lrp import RULE_SETS, RuleSet, apply_rules
from tests.helpers.nets import Net

Array = NDArray[np.float64]
EPSILON = 1e-12  # so small that it does not matter where a stabiliser stands


def sequential(seed: int = 0, norm: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Conv2d(3, 6, 3, padding=1)]
    layers += [nn.BatchNorm2d(6)] if norm else []
    layers += [nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU()]
    made = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * 3 * 3, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        for name, parameter in (*made.named_parameters(), *made.named_buffers()):
            if parameter.is_floating_point() and parameter.dim() == 1:
                parameter.add_(torch.rand(parameter.shape) * 0.3)
            assert name
    return made.eval()


def as_onnx(made: nn.Sequential) -> Any:
    """The network node by node: exporting would change nothing and take longer."""
    net, x = Net(("N", 3, 12, 12)), "image"
    for layer in made:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            weights = [net.weight(value.detach().numpy()) for value in layer.parameters()]
            conv = isinstance(layer, nn.Conv2d)
            pads = {"pads": [int(layer.padding[0])] * 4} if isinstance(layer, nn.Conv2d) else {"transB": 1}
            x = net.add("Conv" if conv else "Gemm", x, *weights, **pads)
        elif isinstance(layer, nn.BatchNorm2d):
            values = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            x = net.add(
                "BatchNormalization", x, *[net.weight(v.detach().numpy()) for v in values if v is not None], epsilon=layer.eps
            )
        elif isinstance(layer, nn.MaxPool2d):
            x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        else:
            x = net.add("Relu" if isinstance(layer, nn.ReLU) else "Flatten", x)
    return net.model([x])


def image(count: int = 2, seed: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (count, 3, 12, 12)))


def ours(model: Any, x: Tensor, rules: str | RuleSet, bounds: tuple[Tensor, Tensor] | None = None) -> Array:
    graph = model if isinstance(model, torch.fx.GraphModule) else ox.to_torch(model).double()
    ruled = apply_rules(graph, rules, bounds)
    data = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(ruled.graph(data).sum(), data)
    return (gradient if ruled.relevance else gradient * data).detach().numpy()  # type: ignore[no-any-return]


def zennits(made: nn.Module, x: Tensor, composite: Any) -> Array:
    data = x.clone().requires_grad_(True)
    with composite.context(made.double()) as modified:
        output = modified(data)
        (found,) = torch.autograd.grad(output, data, output.detach())
    return found.numpy()  # type: ignore[no-any-return]


def composites() -> dict[str, tuple[Callable[[], Any], str | RuleSet]]:
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.composites import EpsilonGammaBox, EpsilonPlus, EpsilonPlusFlat, LayerMapComposite, layer_map_base
    from zennit.rules import AlphaBeta, Epsilon, Gamma, ZPlus
    from zennit.types import Linear

    def everywhere(rule: Any) -> Callable[[], Any]:
        return lambda: LayerMapComposite([*layer_map_base(EPSILON), (Linear, rule)], canonizers=[SequentialMergeBatchNorm()])

    merging = {"canonizers": [SequentialMergeBatchNorm()], "epsilon": EPSILON, "stabilizer": EPSILON}
    low, high = zeros(1, 3, 1, 1).double() - 1, zeros(1, 3, 1, 1).double() + 1
    composite = RULE_SETS["lrp-composite"]
    return {
        "epsilon": (everywhere(Epsilon(EPSILON)), "lrp-epsilon"),
        "gamma": (everywhere(Gamma(0.25, EPSILON)), "lrp-gamma"),
        "zplus": (everywhere(ZPlus(EPSILON)), "lrp-zplus"),
        "alpha-beta": (everywhere(AlphaBeta(2, 1, EPSILON)), "lrp-alpha-beta"),
        "epsilon-gamma-box": (lambda: EpsilonGammaBox(low, high, **merging), composite),
        "epsilon-plus": (lambda: EpsilonPlus(**merging), composite.with_(Conv="zplus", Input="gradient")),
        "epsilon-plus-flat": (lambda: EpsilonPlusFlat(**merging), composite.with_(Conv="zplus", Input="flat")),
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("name", list(composites()))
def test_relevance_equals_zennits(name: str, norm: bool) -> None:
    make, rules = composites()[name]
    rules = (RULE_SETS[rules] if isinstance(rules, str) else rules).with_(epsilon=EPSILON)
    bounds = (zeros(1, 3, 1, 1) - 1, zeros(1, 3, 1, 1) + 1)
    found = ours(as_onnx(sequential(norm=norm)), image(), rules, bounds)
    expected = zennits(sequential(norm=norm), image(), make())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["epsilon-plus-flat", "epsilon-gamma-box"])
def test_a_resnet_has_zennits_relevance(name: str, tmp_path: Path) -> None:
    """Residual sums and merged normalisation, on torchvision's own network and on its export."""
    from torchvision.models.resnet import BasicBlock, ResNet
    from zennit.composites import EpsilonGammaBox, EpsilonPlusFlat
    from zennit.torchvision import ResNetCanonizer

    torch.manual_seed(0)
    native = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3).eval()
    for value in (*native.parameters(), *native.buffers()):
        if value.is_floating_point() and value.dim() == 1:
            value.data.add_(torch.rand_like(value) * 0.3)
    x, path = torch.randn(1, 3, 48, 48).clamp(-2, 2).double(), tmp_path / "resnet.onnx"
    torch.onnx.export(native, (x.float(),), str(path), dynamo=False, input_names=["image"], do_constant_folding=False)
    options = {"canonizers": [ResNetCanonizer()], "epsilon": EPSILON, "stabilizer": EPSILON}
    ends = (zeros(1, 3, 1, 1).double() - 2, zeros(1, 3, 1, 1).double() + 2)
    rules = RULE_SETS["lrp-composite"].with_(epsilon=EPSILON)
    rules = rules.with_(Conv="zplus", Input="flat") if name == "epsilon-plus-flat" else rules
    composite = EpsilonPlusFlat(**options) if name == "epsilon-plus-flat" else EpsilonGammaBox(*ends, **options)
    found = ours(ox.to_torch(onnx.load(path)).double(), x, rules, ends)
    expected = zennits(native, x, composite)
    cosine = (found * expected).sum() / np.linalg.norm(found) / np.linalg.norm(expected)
    assert cosine > 0.99999
    assert found.sum() == pytest.approx(expected.sum(), rel=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", ["EpsilonRule", "GammaRule", "Alpha1_Beta0_Rule"])
def test_relevance_equals_captums(rule: str) -> None:
    """On data that is not negative, without biases and behind a last ReLU: elsewhere captum leaves biases as they are."""
    from captum.attr import LRP
    from captum.attr._utils import lrp_rules

    names = {"EpsilonRule": "lrp-epsilon", "GammaRule": "lrp-gamma", "Alpha1_Beta0_Rule": "lrp-zplus"}
    expected = np.zeros(image().shape)
    for unit in range(3):
        made = bare(sequential()).double()
        for layer in made:
            if isinstance(layer, (nn.Conv2d, nn.Linear, nn.Flatten)):
                layer.rule = getattr(lrp_rules, rule)()
        data = image().abs().requires_grad_(True)
        expected += LRP(made).attribute(data, target=unit).detach().numpy()
    found = ours(as_onnx(bare(sequential())), image().abs(), RULE_SETS[names[rule]].with_(epsilon=1e-9))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def bare(made: nn.Sequential) -> nn.Sequential:
    """The network without biases, a ReLU behind it."""
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.mul_(0 if name.endswith("bias") else 1)
    return nn.Sequential(*made, nn.ReLU())


@pytest.mark.parametrize("name", ["lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta", "lrp-composite", "elrp"])
def test_without_biases_relevance_is_conserved(name: str) -> None:
    graph = ox.to_torch(as_onnx(bare(sequential()))).double()
    bounds = (zeros(1, 3, 1, 1) - 1, zeros(1, 3, 1, 1) + 1)
    found = ours(graph, image(), RULE_SETS[name].with_(epsilon=1e-12), bounds)
    np.testing.assert_allclose(found.sum((1, 2, 3)), graph(image()).sum(1).numpy(), rtol=1e-6)


RULED = ["elrp", "lrp-epsilon", "lrp-gamma", "lrp-zplus", "lrp-alpha-beta"]


@pytest.mark.parametrize("name", RULED)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_maps_do_not_depend_on_how_a_layer_is_written(name: str, seed: int) -> None:
    """Gemm, MatMul and Add, a convolution of size one, and one with its bias and scale behind it are one layer."""
    rng = np.random.default_rng(seed)
    first, second, bias = (rng.standard_normal(shape) for shape in ((5, 4), (3, 5), 5))
    scale = rng.choice([-2.0, -0.5, 0.25, 4.0], 5)  # powers of two: dividing by them rounds nothing
    x = torch.from_numpy(rng.standard_normal((2, 4)))
    rules = RULE_SETS[name]
    maps = [ours(write(way, first, second, bias, scale), x.reshape(-1, *shape), rules) for way, shape in WAYS.items()]
    for other in maps[1:]:
        np.testing.assert_allclose(other.reshape(2, 4), maps[0], rtol=1e-4, atol=1e-7)


WAYS: dict[str, tuple[int, ...]] = {"gemm": (4,), "matmul": (4,), "conv": (4, 1, 1), "scaled": (4, 1, 1), "left": (4, 1)}


def write(way: str, first: Array, second: Array, bias: Array, scale: Array) -> Any:
    """second · relu(first · x + bias)."""
    net = Net(("N", *WAYS[way]))
    if way == "gemm":
        x = net.add("Gemm", "image", net.weight(first), net.weight(bias), transB=1)
        return net.model([net.add("Gemm", net.add("Relu", x), net.weight(second), transB=1)])
    if way == "matmul":
        x = net.add("Add", net.add("MatMul", "image", net.weight(first.T)), net.weight(bias))
        return net.model([net.add("MatMul", net.add("Relu", x), net.weight(second.T))])
    if way == "left":
        x = net.add("Add", net.add("MatMul", net.weight(first), "image"), net.weight(bias[:, None]))
        return net.model([net.add("MatMul", net.weight(second), net.add("Relu", x))])
    if way == "conv":
        x = net.add("Conv", "image", net.weight(first[:, :, None, None]), net.weight(bias))
    else:
        x = net.add("Conv", "image", net.weight((first / scale[:, None])[:, :, None, None]))
        x = net.add("Add", net.add("Mul", x, net.weight(scale[:, None, None])), net.weight(bias[None, :, None, None]))
    return net.model([net.add("Conv", net.add("Relu", x), net.weight(second[:, :, None, None]))])


@settings(max_examples=6, deadline=None)
@given(factor=st.floats(0.1, 10), seed=st.integers(0, 100))
@pytest.mark.parametrize("name", RULED)
def test_scaling_a_network_without_biases_scales_its_maps(name: str, factor: float, seed: int) -> None:
    graph = ox.to_torch(as_onnx(bare(sequential(seed)))).double()
    rules = RULE_SETS[name].with_(epsilon=1e-12)
    np.testing.assert_allclose(ours(graph, image() * factor, rules), factor * ours(graph, image(), rules), rtol=1e-5, atol=1e-9)
