"""What a pass of maps launches: no more operations than stated, and what saves some gives the same bytes as what it replaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from onnxspace.attribution.cpu_tuning import interleave_phases, tune_graph
from onnxspace.attribution.explainer import make_explainer
from onnxspace.attribution.lrp import apply_rules
from onnxspace.attribution.lrp.activations import Ratio
from onnxspace.attribution.mean_gradients import Mean
from onnxspace.inputs.methods import Method
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert, to_torch
from onnxspace.torchgraph.verify import outputs_of
from tests.helpers.nets import Net

MODELS = Path(__file__).parents[2] / "models"
#: The most operations of one pass, forward and backward, by network: of ε-LRP, and of saliency. Raise one only for a reason.
CEILINGS: dict[str, tuple[int, int]] = {
    "colour-tflite": (94, 79),
    "colour-torch": (104, 83),
    "count-torch": (104, 83),
    "depth-torch": (88, 70),
    "digits-torch": (60, 48),
    "edges-torch": (88, 70),
    "light-torch": (202, 120),
    "segment-torch": (88, 70),
    "shapes-jax": (86, 71),
    "shapes-keras": (107, 86),
    "shapes-torch": (104, 83),
    "texture-torch": (202, 120),
}


class Counter(TorchDispatchMode):
    """Counts operations below autograd, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_every_network_of_the_zoo_has_a_ceiling() -> None:
    assert {path.stem for path in MODELS.glob("*.onnx")} == set(CEILINGS)


@pytest.mark.parametrize("name", CEILINGS)
def test_a_pass_launches_no_more_operations_than_stated(name: str) -> None:
    """Two images of 64 × 64: no tensor has so many elements that a rule divides it into chunks."""
    model, probes = open_model(MODELS / f"{name}.onnx"), Probes.generate(2, size=64)
    converted = convert(model, probes.images)
    methods: tuple[Method, Method] = ("elrp", "saliency")
    for method, ceiling in zip(methods, CEILINGS[name], strict=True):
        explainer = make_explainer(model, converted, Setup(probes, method), torch.device("cpu"))
        batch = explainer.prepare_batch(probes.images if converted.batchable else probes.images[:1])
        explainer.compute_maps(batch)
        with Counter() as counter:
            explainer.compute_maps(batch)
        assert 0 < counter.count <= ceiling, method


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, weights: Tensor) -> Tensor:
    point = x.detach().requires_grad_(True)
    return torch.autograd.grad(function(point), point, weights)[0]


def assert_same_bytes(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert torch.equal(found.contiguous().view(torch.int32), expected.contiguous().view(torch.int32))


def special(shape: tuple[int, ...], seed: int) -> Tensor:
    """Numbers among which are zeros of both signs, infinities, NaN and subnormal ones."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    odd = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1e-40, -1e-40, 1e-35, -1e-35, 3e38])
    places = values.view(-1)[::7][: len(odd)]
    places.copy_(odd[: len(places)])
    return values


ORDERS = {"first": torch.contiguous_format, "last": torch.channels_last}


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize(
    "function", [nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.Sigmoid(), nn.Tanh()], ids=lambda f: type(f).__name__
)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 24, 57, 57)])
def test_the_ratio_in_the_backward_pass_has_the_bytes_of_a_stored_factor(
    shape: tuple[int, ...], order: str, function: nn.Module, offset: bool
) -> None:
    z = special(shape, 0).contiguous(memory_format=ORDERS[order])
    weights = special(shape, 1).flip(3)
    epsilon = 1e-4
    value = function(z) - function(torch.zeros_like(z)) if offset else function(z)
    factor = value / ((z * 1e30 + epsilon).clamp(-epsilon, epsilon) + z)
    for stored in (False, True):
        module = Ratio(function, epsilon, offset, stored)
        for given in (weights, weights.contiguous(memory_format=ORDERS[order])):
            assert_same_bytes(gradient(module, z, given), factor * given)
        assert_same_bytes(module(z.detach().requires_grad_(True)).detach(), function(z))


def test_a_ratio_is_stored_where_several_outputs_are_differentiated() -> None:
    """Each has a backward pass of its own, which is shorter then; a graph with one output stores no factor."""
    net = Net(("N", 3, 9, 9))
    names = [net.add("HardSwish", net.conv("image", 3, 8))]
    names.append(net.add("Tanh", net.conv(names[0], 8, 4)))
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    counts, found = {}, {}
    for outputs in (names[1:], names):
        fast = tune_graph(apply_rules(to_torch(net.model(outputs)), "elrp").graph)
        ratios = [module for module in fast.modules() if isinstance(module, Ratio)]
        assert [module.stored for module in ratios] == [len(outputs) > 1] * 2
        point = x.detach().requires_grad_(True)
        last = outputs_of(fast, point)[-1]
        with Counter() as counter:
            found[len(outputs)] = torch.autograd.grad(last.sum(), point)[0]
        counts[len(outputs)] = counter.count
    assert counts[2] < counts[1]
    assert_same_bytes(found[2], found[1])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [None, [2, 3], [-1], [1, -1], [0, 2]])
def test_the_gradient_of_a_mean_has_the_bytes_of_torch(axes: list[int] | None, keep: bool) -> None:
    keep = keep or axes is None
    found = (2, 3) if axes is None else tuple(axes)

    def mean(x: Tensor) -> Tensor:
        return torch.mean(x, dim=found, keepdim=keep)

    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return mean(x)

    x = special((2, 3, 5, 7), 0).contiguous(memory_format=torch.channels_last)
    weights = special(tuple(mean(x).shape), 1)
    other = special((2, 3, 5, 7), 2)
    own = Mean(Plain(), axes, keep)
    assert_same_bytes(own(x.detach().requires_grad_(True)).detach(), mean(x))
    assert_same_bytes(gradient(own, x, weights), gradient(mean, x, weights))
    point = x.detach().requires_grad_(True)
    both = torch.autograd.grad([own(point), point * other], point, [weights, torch.ones_like(x)])[0]
    assert_same_bytes(both, other + gradient(mean, x, weights))


def squeezed(operator: str) -> Net:
    """A block that multiplies its channels by a function of their means."""
    net = Net(("N", 3, 9, 9))
    x = net.add("Relu", net.conv("image", 3, 8))
    mean = net.add(operator, x, **({"axes": [2, 3], "keepdims": 1} if operator == "ReduceMean" else {}))
    gate = net.add("Sigmoid", net.conv(mean, 8, 8, 1))
    net.add("Relu", net.conv(net.add("Mul", x, gate), 8, 4))
    return net


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "ReduceMean"])
def test_means_whose_gradient_is_added_to_another_are_replaced(operator: str) -> None:
    net = squeezed(operator)
    graph = to_torch(net.model([net.nodes[-1].output[0]]))
    fast = tune_graph(graph)
    assert sum(isinstance(module, Mean) for module in fast.modules()) == 1
    x = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(graph(x).shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(gradient(fast, x, weights), gradient(graph, x, weights), rtol=1e-4, atol=1e-5)


def test_a_mean_alone_keeps_its_gradient() -> None:
    """An exponential is computed in another way for a number that is repeated in memory."""
    net = Net(("N", 3, 9, 9))
    net.add("GlobalAveragePool", net.add("Sigmoid", net.conv("image", 3, 8)))
    fast = tune_graph(to_torch(net.model([net.nodes[-1].output[0]])))
    assert not any(isinstance(module, Mean) for module in fast.modules())


@pytest.mark.parametrize("step", [2, 3, 4])
def test_phases_are_interleaved_as_by_a_pixel_shuffle(step: int) -> None:
    phases = torch.randn(2, 3 * step * step, 5, 4).contiguous(memory_format=torch.channels_last)
    assert torch.equal(interleave_phases(phases, step), F.pixel_shuffle(phases, step))
