"""Every method against captum, float64 twins on native networks, and the invariants it must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.attribution import explainer, gradients
from onnxspace.attribution.activation_maps import GRID_WAYS
from onnxspace.attribution.gradients import WAYS
from onnxspace.attribution.lrp import RULE_SETS, apply_rules
from onnxspace.attribution.noise import pixel_noise, seeds_of
from onnxspace.errors import AttributionError
from onnxspace.inputs.methods import METHODS, Method, Options, Settings
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.protocol import Setup
from onnxspace.model.model import Model, open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.attribution.test_maps import Residual, export, fixed_batch
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes

Array = NDArray[np.float64]


class Smooth(torch.nn.Module):
    """SiLU and GELU, group normalisation between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv2d(8, 6, 3, stride=2)
        self.norm, self.head = torch.nn.GroupNorm(2, 8), torch.nn.Linear(6, 5)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(torch.nn.functional.silu(self.first(x)))
        return torch.nn.functional.gelu(self.second(x)).mean(dim=(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encode(x))  # type: ignore[no-any-return]


NATIVE: dict[str, type[Any]] = {"residual": Residual, "smooth": Smooth}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("networks")
    return {name: export(native(), folder / f"{name}.onnx", dynamo=False) for name, native in NATIVE.items()}


@pytest.fixture(params=list(NATIVE))
def pair(request: pytest.FixtureRequest, exported: dict[str, Path]) -> tuple[Model, Any]:
    """A converted network, and the encoder of the native one in float64."""
    native = NATIVE[request.param]().double().eval()
    return open_model(exported[request.param]), native.encode


def seen(model: Model, images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(model.preprocess(images)).double()


def reduced(found: torch.Tensor) -> Array:
    return found.detach().mean(dim=1).numpy()  # type: ignore[no-any-return]


def agrees(found: NDArray[np.float32], expected: Array) -> None:
    assert worst_cosine(found, expected) >= 0.9999
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())


def test_the_registry_is_complete() -> None:
    assert tuple(METHODS) == get_args(Method)
    assert {spec.way for spec in METHODS.values()} == {*WAYS, *GRID_WAYS}
    assert {spec.way for spec in METHODS.values() if spec.place != "image"} == set(GRID_WAYS)
    assert {name for spec in METHODS.values() for name in spec.uses} == set(vars(Settings()))
    assert {spec.rules for spec in METHODS.values()} - {None} == set(RULE_SETS)


@pytest.mark.parametrize("method", [name for name, spec in METHODS.items() if spec.rules])
@pytest.mark.filterwarnings("ignore")
def test_a_baseline_is_an_option_where_rules_leave_a_gradient(exported: dict[str, Path], method: Method) -> None:
    graph = convert(open_model(exported["residual"]), probes(2).images).graph
    low, high = torch.full((1, 3, 1, 1), -1.0), torch.ones((1, 3, 1, 1))
    ruled = apply_rules(graph, METHODS[method].rules or "", (low, high))
    assert ruled.relevance is ("baseline" not in METHODS[method].options)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("baseline", ["zero", "black"])
def test_captum_agrees(pair: tuple[Model, Any], baseline: str) -> None:
    model, encode = pair
    images = probes(3)
    values = seen(model, images.images)
    start = torch.zeros_like(values) if baseline == "zero" else seen(model, np.zeros_like(images.images))

    def explained(x: torch.Tensor) -> torch.Tensor:
        return encode(x).sum(dim=1)  # type: ignore[no-any-return]

    line = captum.attr.IntegratedGradients(explained).attribute(values, start, n_steps=20, method="gausslegendre")
    agrees(ox.attribute(model, images, "integrated-gradients", options=Options(baseline, steps=20)), reduced(line))
    saliency = captum.attr.Saliency(explained).attribute(values)
    agrees(ox.attribute(model, images, "saliency"), reduced(saliency))
    if baseline == "zero":
        product = captum.attr.InputXGradient(explained).attribute(values)
        agrees(ox.attribute(model, images, "gradient-x-input"), reduced(product))


def gradient(encode: Any, values: torch.Tensor) -> torch.Tensor:
    point = values.clone().requires_grad_(True)
    return torch.autograd.grad(encode(point).sum(), point)[0]


def test_integrated_gradients_equal_the_slow_twin_and_are_complete(pair: tuple[Model, Any]) -> None:
    """The twin is the midpoint rule with many steps; the map's sum is S(x) − S(b), over three channels."""
    model, encode = pair
    images = probes(3)
    values, start = seen(model, images.images), seen(model, np.zeros_like(images.images))
    steps = 1000
    mean = sum(gradient(encode, start + (j + 0.5) / steps * (values - start)) for j in range(steps)) / steps
    found = ox.attribute(model, images, "integrated-gradients", options=Options("black", steps=300))
    assert worst_cosine(found, reduced((values - start) * mean)) >= 0.9999
    gap = (encode(values) - encode(start)).sum(dim=1).detach().numpy()
    np.testing.assert_allclose(3 * found.sum(axis=(1, 2), dtype=np.float64), gap, rtol=5e-3)


def test_smoothgrad_equals_the_slow_twin(pair: tuple[Model, Any]) -> None:
    """Noise is a tenth of the range to which the model's preprocessing maps pixels."""
    model, encode = pair
    images = probes(3)
    values, seeds = seen(model, images.images), seeds_of(images.images)
    drawn = [torch.from_numpy(pixel_noise(model.preprocess, seeds, k, 0.1)).double() for k in range(6)]
    preprocess = model.preprocess
    deviation = 0.1 * 255 * preprocess.scale / np.broadcast_to(preprocess.std, 3)
    np.testing.assert_allclose(torch.stack(drawn).std(dim=(0, 1, 3, 4)).numpy(), deviation, rtol=0.03)
    np.testing.assert_allclose(torch.stack(drawn).mean(dim=(0, 1, 3, 4)).numpy(), 0, atol=0.05 * deviation.max())
    mean = sum(gradient(encode, values + noise) for noise in drawn) / 6
    found = ox.attribute(model, images, "smoothgrad", options=Options(samples=6, noise=0.1))
    agrees(found, reduced(mean.abs()))  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad"])
def test_points_that_pass_together_give_the_map_of_points_one_by_one(
    method: Method, pair: tuple[Model, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, sizes, genuine = pair[0], [], gradients.DifferentiableGraph.gradient

    def counted(self: gradients.DifferentiableGraph, values: torch.Tensor, weights: Any = None) -> torch.Tensor:
        sizes.append(len(values))
        if len(values) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return genuine(self, values, weights)

    monkeypatch.setattr(gradients.DifferentiableGraph, "gradient", counted)
    options = Options(steps=7) if method == "integrated-gradients" else Options(samples=7)
    single = ox.attribute(model, probes(2), method, options=options, batch_size=2)
    assert sizes == [2] * 7
    sizes.clear()
    together = ox.attribute(model, probes(2), method, options=options, batch_size=12)
    assert sizes == [12, 6, 6, 2]  # six points do not fit in memory, three do
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-5 * np.abs(single).max())


def test_noise_is_the_same_whatever_layout_order_and_range_the_network_has() -> None:
    plain = pixel_noise(Preprocess(4, 5, scale=1.0, mean=(0.0,)), [7, 8], 0, 1 / 255)
    other = Preprocess(4, 5, "NHWC", "BGR", scale=0.5, mean=(0.0,), std=(1.0, 2.0, 4.0))
    found = pixel_noise(other, [7, 8], 0, 1 / 255) * np.array([2.0, 4.0, 8.0])
    np.testing.assert_allclose(found[..., ::-1].transpose(0, 3, 1, 2), plain, rtol=1e-5)
    assert pixel_noise(Preprocess(4, 5, color="GREY"), [7], 0, 0.1).shape == (1, 1, 4, 5)
    assert not np.allclose(plain[0], plain[1])
    assert not np.allclose(plain, pixel_noise(Preprocess(4, 5, scale=1.0, mean=(0.0,)), [7, 8], 1, 1 / 255))


def jacobian(encode: Any, values: torch.Tensor) -> torch.Tensor:
    """|du/dx|, mean over channels: [images, units, height, width]."""
    rows = [torch.autograd.functional.jacobian(lambda x: encode(x[None])[0], value) for value in values]
    return torch.stack(rows).abs().mean(dim=2)


def test_unit_saliency_equals_the_jacobian(pair: tuple[Model, Any]) -> None:
    model, encode = pair
    images = probes(3)
    expected = jacobian(encode, seen(model, images.images)).mean(dim=1).numpy()
    agrees(ox.attribute(model, images, "unit-saliency"), expected)


def test_units_that_cannot_be_batched_are_taken_one_by_one(exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    together = ox.attribute(exported["smooth"], probes(2), "unit-saliency")
    genuine = gradients._vjp

    def single(units: torch.Tensor, point: torch.Tensor, seeds: torch.Tensor, *, batched: bool) -> torch.Tensor:
        if batched:
            raise RuntimeError("vmap: there is no batching rule for this")
        return genuine(units, point, seeds, batched=False)

    monkeypatch.setattr(gradients, "_vjp", single)
    np.testing.assert_allclose(ox.attribute(exported["smooth"], probes(2), "unit-saliency"), together, rtol=1e-4, atol=1e-7)


def wide(tmp_path: Path) -> Model:
    """An encoder of 400 units: a feature map."""
    net = Net(("N", 3, 12, 12), seed=2)
    return open_model(save(net.model([net.add("Relu", net.conv("image", 3, 4))]), tmp_path / "wide.onnx"), "t1")


def test_the_standard_error_of_sampled_units_is_the_true_one(tmp_path: Path) -> None:
    """Over many images, the mean of squared errors is what is reported."""
    model, images = wide(tmp_path), probes(40, 12)
    converted = convert(model, images.images[:2])
    engines = (
        explainer.make_explainer(model, converted, Setup(images, "unit-saliency", Options(units=units)), torch.device("cpu"))
        for units in (400, 100)
    )
    whole, part = (made.to_probe_pixels(made.compute_maps(made.prepare_batch(images.images))) for made in engines)
    assert whole.errors is None
    assert part.errors is not None
    lengths = np.linalg.norm(whole.maps.reshape(40, -1), axis=1)
    true = np.linalg.norm((part.maps - whole.maps).reshape(40, -1), axis=1) / lengths
    assert np.sqrt(np.mean(np.square(true))) == pytest.approx(np.sqrt(np.mean(np.square(part.errors))), rel=0.1)


def test_score_states_the_error_of_an_estimate(tmp_path: Path) -> None:
    path = wide(tmp_path).path
    result = ox.score([path], probes(4, 12), method="unit-saliency", options=Options(units=50), encoder="t1")
    (sentence,) = (warning for warning in result.warnings if "estimated" in warning)
    assert sentence.startswith("wide: maps are estimated from 50 units per image; their standard error is ")
    assert result.to_dict()["options"] == {"units": 50}
    assert result.method_words == "unit-saliency (units 50)"


def test_score_states_which_operators_have_no_rule(tmp_path: Path) -> None:
    net = Net(("N", 3, 16, 16))
    x = net.add("GlobalAveragePool", net.add("Sin", net.conv("image", 3, 4)))
    path = save(net.model([net.dense(net.add("Flatten", x), 4, 3)]), tmp_path / "sine.onnx")
    assert "sine: elrp has no rule for Sin ×1; they keep their gradient." in ox.score([path], probes(2)).warnings
    assert not ox.score([path], probes(2), method="saliency").warnings


QUICK = Options(steps=3, samples=3, units=2)


def quick(method: Method) -> Options:
    return Options(**{name: getattr(QUICK, name) for name in METHODS[method].options})


WITHOUT_ATTENTION: list[Method] = [name for name, spec in METHODS.items() if spec.place != "attention"]


@pytest.mark.parametrize("method", WITHOUT_ATTENTION)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 5), order=st.permutations(range(5)))
def test_maps_depend_on_neither_batch_nor_order(exported: dict[str, Path], method: Method, size: int, order: list[int]) -> None:
    images = probes(5)
    expected = ox.attribute(exported["residual"], images, method, options=quick(method))
    mixed = ox.Probes("mixed", images.images[order])
    found = ox.attribute(exported["residual"], mixed, method, options=quick(method), batch_size=size)
    # By the length of a map: where a rule divides by a small sum, single pixels depend on the processor's last bits.
    difference = np.linalg.norm((found - expected[order]).reshape(5, -1), axis=1)
    assert (difference <= 1e-4 * np.linalg.norm(expected[order].reshape(5, -1), axis=1)).all()


@pytest.mark.parametrize("method", WITHOUT_ATTENTION)
def test_reruns_are_equal_to_the_bit(exported: dict[str, Path], method: Method) -> None:
    first, second = (ox.attribute(exported["smooth"], probes(2), method, options=quick(method)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("method", ["integrated-gradients", "smoothgrad", "unit-saliency"])
def test_a_graph_that_holds_for_one_image_is_explained_image_by_image(tmp_path: Path, method: Method) -> None:
    model, images = open_model(save(fixed_batch(), tmp_path / "net.onnx")), probes(3)
    together = ox.attribute(model, images, method, options=quick(method))
    alone = [
        ox.attribute(model, ox.Probes("one", images.images[i : i + 1]), method, options=quick(method))[0] for i in range(3)
    ]
    np.testing.assert_array_equal(together, alone)


def test_an_encoder_that_ignores_the_image_has_no_maps() -> None:
    constant = torch.fx.symbolic_trace(_Constant())
    network = gradients.DifferentiableGraph("net.onnx", constant, 1)
    batch = gradients.Batch(torch.zeros(2, 3, 4, 4), None, [1, 2], lambda k, share: [torch.zeros(2, 3, 4, 4)] * k)
    for way in WAYS.values():
        with pytest.raises(AttributionError, match="no gradient reaches the image"):
            way(network, batch, Settings())


class _Constant(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones(2, 5)
