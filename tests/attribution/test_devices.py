"""Where and how maps are computed: shared among processors, in other precisions, arranged for the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import onnxspace as ox
from onnxspace.attribution import maps
from onnxspace.attribution.cpu_tuning import FusedAttention, StridedConv, tune_graph
from onnxspace.attribution.devices import configure_torch, list_devices, resolve_compute
from onnxspace.attribution.gradients import Batch, InputMaps
from onnxspace.attribution.lrp import apply_rules
from onnxspace.errors import ConfigError
from onnxspace.inputs.execution import Compute
from onnxspace.inputs.methods import Method
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import to_torch
from tests.helpers.nets import Net, classifier, save, worst_cosine
from tests.helpers.noise import probes


def gradient(graph: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    point = x.detach().requires_grad_(True)
    return torch.autograd.grad(graph(point).square().sum(), point)[0]


@pytest.mark.parametrize("size", [5, 8, 9, 11])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 1, 1, 1), (3, 3, 3, 3), (1, 0, 0, 1)])
@pytest.mark.parametrize(("kernel", "step"), [(1, 2), (1, 3), (2, 2), (3, 2), (4, 3), (7, 2)])
def test_convolutions_with_steps_have_the_gradient_of_the_plain_graph(
    kernel: int, step: int, pads: tuple[int, ...], size: int
) -> None:
    """Every phase of the step, kernels shorter and longer than it, rows that no window reaches, uneven padding."""
    size = max(size, kernel)
    net = Net((2, 3, size, size + 1))
    first = net.add("Conv", "image", net.random(4, 3, kernel, kernel), strides=[step, step], pads=list(pads))
    graph = to_torch(net.model([first])).double()
    fast = tune_graph(graph)
    assert any(isinstance(module, StridedConv) for module in fast.modules())
    x = torch.randn(2, 3, size, size + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fast(x), graph(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(fast, x), gradient(graph, x), rtol=1e-10, atol=1e-12)


def residual() -> Net:
    net = Net(("N", 3, 16, 16))
    stem = net.add("Relu", net.conv("image", 3, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1]))
    side = net.add("Conv", stem, net.random(8, 8, 1, 1), strides=[2, 2])
    main = net.add("Clip", net.conv(stem, 8, 8, 3, strides=[2, 2], pads=[1, 1, 1, 1]), net.weight(0.0), net.weight(0.5))
    net.add("Relu", net.add("Add", main, side))
    return net


@pytest.mark.parametrize("rules", [None, "elrp", "lrp-gamma"])
def test_a_tuned_graph_gives_the_same_gradient_and_leaves_the_other_as_it_is(rules: str | None) -> None:
    net = residual()
    graph = to_torch(net.model([net.nodes[-1].output[0]])).double()
    graph = graph if rules is None else apply_rules(graph, rules).graph
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = gradient(graph, x)
    strides = [tensor.stride() for tensor in graph.buffers()]
    torch.testing.assert_close(gradient(tune_graph(graph), x), before, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(graph, x), before, rtol=0, atol=0)
    assert [tensor.stride() for tensor in graph.buffers()] == strides


@pytest.mark.parametrize("method", ["elrp", "saliency", "unit-saliency"])
def test_processors_share_the_images_and_maps_stay_in_order(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = open_model(save(classifier(), tmp_path / "net.onnx")), probes(11)
    alone = ox.attribute(model, images, method, batch_size=2)
    monkeypatch.setattr(maps, "list_devices", lambda _compute: [torch.device("cpu")] * 3)
    np.testing.assert_array_equal(ox.attribute(model, images, method, batch_size=2), alone)


def test_a_batch_that_one_of_several_processors_cannot_hold_is_halved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = open_model(save(classifier(), tmp_path / "net.onnx")), probes(11)
    expected = ox.attribute(model, images, batch_size=2)
    genuine = maps.Explainer.compute_maps

    def tight(self: maps.Explainer, batch: Batch) -> InputMaps:
        if len(batch.values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(self, batch)

    monkeypatch.setattr(maps, "list_devices", lambda _compute: [torch.device("cpu")] * 2)
    monkeypatch.setattr(maps.Explainer, "compute_maps", tight)
    np.testing.assert_array_equal(ox.attribute(model, images, batch_size=4), expected)


def test_half_precision_gives_nearly_the_same_maps(tmp_path: Path) -> None:
    net = residual()
    path = save(net.model([net.add("Relu", net.conv(net.nodes[-1].output[0], 8, 4))]), tmp_path / "net.onnx")
    model, images = open_model(path), probes(4)
    single = ox.attribute(model, images)
    half = ox.attribute(model, images, device=Compute(precision="bf16"))
    assert 0.99 < worst_cosine(single, half) < 0.9999999


def test_torch_is_left_as_it_was() -> None:
    def state() -> tuple[bool, ...]:
        return (
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.are_deterministic_algorithms_enabled()
        )  # fmt: skip

    before = state()
    with configure_torch(Compute(deterministic=True)):
        assert state() == (False, False, True)
    assert state() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: tf32 is fine")
def test_a_mode_that_the_machine_lacks_is_refused() -> None:
    assert [place.type for place in list_devices(resolve_compute("auto"))] == ["cpu"]
    with pytest.raises(ConfigError, match="--precision tf32 is a mode of CUDA devices"):
        resolve_compute(Compute(precision="tf32"))


@pytest.mark.parametrize("shape", [(5, 4), (2, 5, 4), (2, 3, 5, 4), (2, 1, 3, 5, 4)])
def test_attention_in_one_pass_gives_what_its_pieces_give(shape: tuple[int, ...]) -> None:
    net = Net(shape)
    axes = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    keys = net.add("Transpose", net.add("Mul", "image", net.weight(0.7)), perm=axes)
    scores = net.add("Softmax", net.add("MatMul", "image", keys), axis=-1)
    graph = to_torch(net.model([net.add("MatMul", scores, net.add("Sin", "image"))])).double()
    fast = tune_graph(graph)
    assert any(isinstance(module, FusedAttention) for module in fast.modules())
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fast(x), graph(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient(fast, x), gradient(graph, x), rtol=1e-9, atol=1e-11)
    ruled = tune_graph(apply_rules(graph, "attnlrp").graph)
    assert not any(isinstance(module, FusedAttention) for module in ruled.modules())
