"""Maps of activations against the papers' equations on what Torch's own hooks see, and attention rollout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import onnxspace as ox
from onnxspace.attribution.activation_maps import resize_maps
from onnxspace.attribution.subject import find_subject
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.methods import Method
from onnxspace.inputs.protocol import Setup
from onnxspace.inputs.targets import Target
from onnxspace.model.model import Model, open_model
from tests.helpers.asknets import NETWORKS, RANGE, SIDE, Segmenter, Transformer, enlarge, export, make_network
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes
from tests.oracles import activation_maps as oracle

FORMULAS: dict[Method, Callable[..., Any]] = {
    "grad-cam": oracle.grad_cam, "grad-cam++": oracle.grad_cam_plus, "layer-cam": oracle.layer_cam,
}  # fmt: skip


def watch(net: nn.Module, images: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Activations of the network's `layer` and the class's gradient there, by hooks of Torch, in float64."""
    kept: list[Tensor] = []
    layer: Any = net.layer
    handle = layer.register_forward_hook(lambda _module, _given, output: kept.append(output))
    outputs = net.double()(images.double().requires_grad_(True))
    handle.remove()
    (gradient,) = torch.autograd.grad(outputs[:, number].sum(), kept[0])
    return kept[0].detach(), gradient


def to_planes(values: Tensor, prefix: int) -> Tensor:
    return values if values.dim() == 4 else values[:, prefix:].mT.reshape(len(values), -1, 4, 4)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_maps_equal_the_papers_equations_on_the_native_network(tmp_path: Path, name: str) -> None:
    net, images = make_network(name), probes(3, SIDE)
    model = export(net, tmp_path / "net.onnx")
    given = torch.from_numpy(model.preprocess(images.images))
    found = [to_planes(values, name == "transformer").numpy() for values in watch(net, given, 2)]
    for method, formula in FORMULAS.items():
        expected = np.array([oracle.enlarge(formula(a, g), SIDE) for a, g in zip(*found, strict=True)])
        maps = ox.attribute(model, images, method, target=2)
        assert expected.any()
        np.testing.assert_allclose(maps, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
        assert worst_cosine(maps[expected.any(axis=(1, 2))], expected[expected.any(axis=(1, 2))]) >= 0.9999


def test_dynamos_export_has_the_maps_of_torchscripts(tmp_path: Path) -> None:
    net, images = make_network("transformer"), probes(2, SIDE)
    first, second = (export(net, tmp_path / f"{dynamo}.onnx", dynamo=dynamo) for dynamo in (False, True))
    for method in (*FORMULAS, "attention-rollout"):
        target = None if method == "attention-rollout" else 1
        a, b = (ox.attribute(model, images, method, target=target) for model in (first, second))  # type: ignore[arg-type]
        assert worst_cosine(a, b) >= 0.9999


def test_without_a_target_the_most_probable_class_of_each_image_is_explained(tmp_path: Path) -> None:
    net, images = make_network("residual"), probes(4, SIDE)
    model = export(net, tmp_path / "net.onnx")
    with torch.no_grad():
        numbers = net(torch.from_numpy(model.preprocess(images.images))).argmax(dim=1)
    found = ox.attribute(model, images, "grad-cam")
    for k, number in enumerate(numbers.tolist()):
        one = ox.attribute(model, ox.Probes("one", images.images[k : k + 1]), "grad-cam", target=number)
        np.testing.assert_allclose(found[k : k + 1], one, rtol=1e-4, atol=1e-6)


def test_the_encoder_chooses_the_tensor_with_positions(tmp_path: Path) -> None:
    net, images = make_network("convolutions"), probes(2, SIDE)
    export(net, tmp_path / "net.onnx")
    first = next(node.output[0] for node in open_model(tmp_path / "net.onnx").graph.nodes if node.op_type == "Relu")
    model = open_model(tmp_path / "net.onnx", first, RANGE)
    subject = find_subject(model, Setup(images, "layer-cam", target=Target(word="1")))
    assert subject.encoder.tensors == ("logits", first)
    assert subject.grid is not None
    assert (subject.grid.rows, subject.grid.columns) == (16, 16)
    assert subject.remarks == (f"maps are computed at {first}, 16 × 16 positions, and resized (bilinear)",)
    pooled = open_model(tmp_path / "net.onnx", "logits", RANGE)
    with pytest.raises(ModelError, match=r"logits \[1, 5\] has no positions in the image"):
        ox.attribute(pooled, images, "grad-cam")


def test_of_dense_outputs_the_encoder_is_taken(tmp_path: Path) -> None:
    model = export(enlarge(Segmenter()), tmp_path / "net.onnx")
    subject = find_subject(model, Setup(probes(2, SIDE), "grad-cam", target=Target(word="1")))
    assert subject.grid is not None
    assert (subject.grid.rows, subject.grid.channel_axis) == (8, 1)


def test_rollout_equals_the_products_of_the_native_attentions(tmp_path: Path) -> None:
    for pooled in (False, True):
        torch.manual_seed(1)
        net, images = enlarge(Transformer(depth=3, pooled=pooled)), probes(3, SIDE)
        model = export(net, tmp_path / f"{pooled}.onnx")
        with torch.no_grad():
            net.double()(torch.from_numpy(model.preprocess(images.images)).double())
        layers: list[Any] = list(net.attentions)  # type: ignore[arg-type]
        expected = []
        for k in range(len(images)):
            flow = oracle.rollout([layer.weights[k].numpy() for layer in layers])
            row = flow.mean(axis=0) if pooled else flow[0, 1:]
            expected.append(oracle.enlarge(row.reshape(4, 4), SIDE))
        found = ox.attribute(model, images, "attention-rollout")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert np.ptp(found) > 0.1 * found.max()


def test_rollout_neither_depends_on_the_batch_nor_has_a_class(tmp_path: Path) -> None:
    model, images = export(make_network("transformer"), tmp_path / "net.onnx"), probes(5, SIDE)
    one, many = (ox.attribute(model, images, "attention-rollout", batch_size=size) for size in (1, 5))
    np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-7)
    with pytest.raises(ConfigError, match="attention-rollout does not explain class 1, but the whole network"):
        ox.attribute(model, images, "attention-rollout", target=1)
    with pytest.raises(ConfigError, match="unit-saliency does not explain class 1"):
        ox.attribute(model, images, "unit-saliency", target=1)


def windows(tmp_path: Path) -> Model:
    """Attention within two halves of the tokens."""

    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.inside, self.head = (
                nn.Conv2d(3, 8, 8, stride=8),
                Transformer(1, 8).attentions[0],
                nn.Linear(8, 3),
            )

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = tokens + self.inside(tokens.reshape(-1, 8, 8)).reshape(-1, 16, 8)
            made: Tensor = self.head(tokens.mean(dim=1))
            return made

    return export(enlarge(Windows()), tmp_path / "windows.onnx")


def test_refusals_say_what_is_lacking(tmp_path: Path) -> None:
    images = probes(2, SIDE)
    with pytest.raises(ModelError, match="has no attention, a Softmax over keys"):
        ox.attribute(export(make_network("residual"), tmp_path / "a.onnx"), images, "attention-rollout")
    with pytest.raises(ModelError, match="attends within windows or among reduced tokens"):
        ox.attribute(windows(tmp_path), images, "attention-rollout")
    net = Net(("N", 3, SIDE, SIDE))
    flat = net.dense(net.add("Flatten", "image"), 3 * SIDE**2, 4)
    path = save(net.model([net.dense(net.add("Relu", flat), 4, 3)]), tmp_path / "dense.onnx")
    with pytest.raises(ModelError, match="has no tensor with positions in the image below t3"):
        ox.attribute(path, images, "grad-cam")
    with pytest.raises(ModelError, match="no output with a value per class"):
        ox.attribute(save(_decoder(), tmp_path / "decoder.onnx"), images, "layer-cam")


def _decoder() -> Any:
    net = Net(("N", 3, SIDE, SIDE))
    x = net.add("Relu", net.conv("image", 3, 4, strides=[2, 2], pads=[1] * 4))
    return net.model([net.add("Reshape", x, net.weight(np.array([0, 4, 2, 128])))])


def test_resizing_is_that_of_squares() -> None:
    grid = np.random.default_rng(0).random((3, 5))
    found = resize_maps(torch.from_numpy(grid)[None], (12, 12))[0]
    rows = oracle.enlarge(grid, 12)
    np.testing.assert_allclose(found, rows, rtol=1e-6, atol=1e-7)
