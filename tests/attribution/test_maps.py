"""Maps against hand computation, a slow twin, the frameworks' own autograd, and the invariants they must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.attribution.devices import list_devices, resolve_compute
from onnxspace.attribution.explainer import Explainer
from onnxspace.attribution.gradients import Batch, InputMaps
from onnxspace.attribution.maps import Method
from onnxspace.errors import AttributionError, ConfigError
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.encoder import Encoder, cut
from onnxspace.model.model import Model, open_model
from tests.helpers.nets import Net, classifier, save, worst_cosine
from tests.helpers.noise import probes
from tests.oracles.elrp import FUNCTIONS, elrp

RAW = ModelOptions(scale=1.0, mean=(0.0,), std=(1.0,))


def two_layers(tmp_path: Path) -> Model:
    net = Net((1, 1, 2, 2))
    z = net.add("Conv", "image", net.weight([[[[1.0, -1.0], [2.0, 0.5]]]]), net.weight([1.0]))
    net.add("Conv", net.add("Relu", z), net.weight([[[[3.0]]]]))
    return open_model(save(net.model(["t2"]), tmp_path / "two.onnx"), "t2", RAW)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("saliency", [[3, 3], [6, 1.5]]),
        ("gradient-x-input", [[12, -6], [6, 9]]),
        ("elrp", [[12 * 8 / 8.0001, -6 * 8 / 8.0001], [6 * 8 / 8.0001, 9 * 8 / 8.0001]]),
    ],
)
def test_map_of_a_two_layer_network_computed_by_hand(tmp_path: Path, method: Method, expected: Any) -> None:
    """x = [[4, 2], [1, 6]]: z = 4 − 2 + 2 + 3 + 1 = 8, S = 3 · relu(8), dS/dx = 3 · [[1, −1], [2, ½]]."""
    grey = np.repeat(np.array([[[4, 2], [1, 6]]], np.uint8)[..., None], 3, axis=3)
    found = ox.attribute(two_layers(tmp_path), Probes("hand", grey), method)
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


@pytest.mark.parametrize("operator", sorted(FUNCTIONS))
def test_elrp_equals_the_slow_twin_at_every_nonlinearity(tmp_path: Path, operator: str) -> None:
    rng = np.random.default_rng(3)
    layers: list[tuple[Any, ...]] = []
    net, x, channels = Net((1, 3, 9, 9)), "image", 3
    for outputs in (4, 3, 2):
        weight, bias = rng.standard_normal((outputs, channels, 3, 3)) / 5, rng.standard_normal(outputs) / 5
        layers += [("Conv", weight, bias), (operator,)]
        x = net.add(operator, net.add("Conv", x, net.weight(weight), net.weight(bias)))
        channels = outputs
    model = open_model(save(net.model([x]), tmp_path / "net.onnx"), x)
    images = probes(2, 9)
    found = ox.attribute(model, images, "elrp")
    expected = [elrp(layers, image.astype(np.float64)).mean(axis=0) for image in model.preprocess(images.images)]
    assert worst_cosine(found, np.array(expected)) >= 0.9999
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


def test_elrp_conserves_the_explained_sum_without_biases(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    images = probes(4)
    maps = ox.attribute(model, images, "elrp")
    part = cut(model, Encoder(("t5",), ""))
    explained = runtime.run_each(part, model.preprocess(images.images))[0].sum(axis=1)
    np.testing.assert_allclose(3 * maps.sum(axis=(1, 2)), explained, rtol=2e-3)


class Residual(torch.nn.Module):
    """Convolution, batch normalisation with trained-like statistics, a residual block, pooling, two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 8, 3, padding=1)
        self.norm, self.head = torch.nn.BatchNorm2d(8), torch.nn.Linear(8, 5)
        with torch.no_grad():
            for parameter in (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var):
                parameter.add_(torch.rand(8) / 2)  # type: ignore[union-attr]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.first(x)))
        x = torch.nn.functional.max_pool2d(x + torch.relu(self.second(x)), 2)
        return x.mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encode(x))  # type: ignore[no-any-return]


def export(module: torch.nn.Module, path: Path, *, dynamo: bool) -> Path:
    module = module.eval()
    example = (torch.zeros(2, 3, 16, 16),)
    options: dict[str, Any] = {"input_names": ["image"], "output_names": ["out"]}
    if dynamo:
        options |= {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "external_data": False, "verbose": False}
    else:
        options |= {"dynamic_axes": {"image": {0: "batch"}}, "opset_version": 17}
    torch.onnx.export(module, example, str(path), dynamo=dynamo, **options)
    return path


def autograd(module: Residual, images: NDArray[np.float32], method: Method) -> NDArray[np.float64]:
    x = torch.from_numpy(images).double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(module.double().eval().encode(x).sum(), x)
    found = gradient.abs() if method == "saliency" else gradient * x
    return found.mean(dim=1).detach().numpy()  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True], ids=["torchscript", "dynamo"])
@pytest.mark.parametrize("method", ["saliency", "gradient-x-input"])
def test_maps_equal_pytorchs_own_autograd(tmp_path: Path, method: Method, dynamo: bool) -> None:
    model = open_model(export(Residual(), tmp_path / "net.onnx", dynamo=dynamo))
    images = probes(4)
    found = ox.attribute(model, images, method)
    expected = autograd(Residual(), model.preprocess(images.images), method)
    assert worst_cosine(found, expected) >= 0.9999
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore")
def test_two_exporters_of_one_network_have_affinity_one(tmp_path: Path) -> None:
    paths = [export(Residual(), tmp_path / f"{name}.onnx", dynamo=name == "dynamo") for name in ("script", "dynamo")]
    assert ox.score(paths, probes(4)).matrix[0, 1] >= 0.9999


def test_maps_do_not_depend_on_the_batch_size(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    one, many = (ox.attribute(model, probes(5), batch_size=size) for size in (1, 5))
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-5 * np.abs(many).max())


def test_reruns_are_equal_to_the_bit(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "net.onnx")
    np.testing.assert_array_equal(ox.attribute(path, probes(5)), ox.attribute(path, probes(5)))


def fixed_batch() -> onnx.ModelProto:
    """A network whose Reshape has the batch of one frozen into it, and one that folds the batch into the channels."""
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.conv("image", 3, 4, pads=[1] * 4))
    x = net.add("Reshape", x, net.weight(np.array([2, 2, 16, 16])))
    x = net.add("Reshape", net.add("Transpose", x, perm=[1, 0, 2, 3]), net.weight(np.array([1, 4, 16, 16])))
    x = net.add("Reshape", net.conv(x, 4, 4, size=16), net.weight(np.array([1, 4])))
    return net.model([net.dense(x, 4, 2)])


def test_a_graph_that_holds_for_one_image_is_explained_image_by_image(tmp_path: Path) -> None:
    model = open_model(save(fixed_batch(), tmp_path / "net.onnx"))
    images = probes(3)
    together = ox.attribute(model, images)
    alone = [ox.attribute(model, Probes("one", images.images[i : i + 1]))[0] for i in range(3)]
    np.testing.assert_array_equal(together, alone)


def test_a_batch_that_does_not_fit_is_halved_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = open_model(save(classifier(), tmp_path / "net.onnx"))
    expected = ox.attribute(model, probes(7), batch_size=1)
    sizes: list[int] = []
    genuine = Explainer.compute_maps

    def tight(self: Explainer, batch: Batch) -> InputMaps:
        sizes.append(len(batch.values))
        if len(batch.values) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(self, batch)

    monkeypatch.setattr(Explainer, "compute_maps", tight)
    found = ox.attribute(model, probes(7), batch_size=7)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_one_image_that_does_not_fit_is_an_error_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: Explainer, _batch: Batch) -> InputMaps:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")

    monkeypatch.setattr(Explainer, "compute_maps", full)
    with pytest.raises(AttributionError, match=r"net\.onnx: one image does not fit in memory"):
        ox.attribute(save(classifier(), tmp_path / "net.onnx"), probes(2))


def test_a_map_that_is_not_finite_names_its_image(tmp_path: Path) -> None:
    """Square root has an infinite derivative at zero, which only the third image reaches."""
    net = Net((1, 3, 8, 8))
    x = net.add("Sqrt", net.add("GlobalAveragePool", net.add("Conv", "image", net.weight(np.ones((2, 3, 1, 1))))))
    model = save(net.model([net.dense(net.add("Flatten", x), 2, 2)]), tmp_path / "root.onnx")
    images = np.full((4, 8, 8, 3), 200, np.uint8)
    images[2] = 0
    with pytest.raises(AttributionError, match=r"root\.onnx: the map of probe image 2 is not finite"):
        ox.attribute(open_model(model, options=RAW), Probes("dark", images), "saliency")


def test_an_absent_gpu_is_named() -> None:
    if torch.cuda.is_available():
        assert list_devices(resolve_compute("auto"))[0].type == "cuda"
    else:
        with pytest.raises(ConfigError, match="Torch sees no CUDA device"):
            resolve_compute("cuda")
