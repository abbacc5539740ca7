"""What pixels a file tells: networks whose statistics were stored for other images, by a convolution written in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy import integrate, signal, stats

from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.pixel_presets import PRESETS
from onnxspace.inputs.scenes import render
from onnxspace.model import pixel_images, pixel_parts, pixel_statistics, pixel_tensors
from onnxspace.model.model import Model, open_model
from onnxspace.model.pixel_evidence import compare_statistics, infer_pixels
from onnxspace.model.pixel_images import CANDIDATES, draw_natural_images
from onnxspace.model.pixel_statistics import ChannelStatistics, measure_channels
from onnxspace.model.pixel_tensors import find_stored_statistics
from tests.helpers.nets import Net, save

SIDE, CHANNELS = 48, 16
Build = Callable[[Net, str, str], str]


def feed(images: NDArray[np.uint8], preset: str, contrast: float = 1.0) -> NDArray[np.float64]:
    """Images, uint8 [images, side, side, channels], as the preset feeds them: float64 [images, channels, side, side]."""
    values = PRESETS[preset]
    x = images[..., ::-1] if values.color == "BGR" and images.shape[-1] == 3 else images
    x = 128 + contrast * (x.astype(np.float64) - 128)
    return ((x * values.scale - np.asarray(values.mean)) / np.asarray(values.std)).transpose(0, 3, 1, 2)


def other_images(channels: int = 3) -> NDArray[np.uint8]:
    """Images that the inference does not use: another seed, another size, as they are generated."""
    images = np.stack([render(11, index, 2 * SIDE)[::2, ::2] for index in range(12)])
    return images if channels == 3 else images.mean(axis=-1, keepdims=True).astype(np.uint8)


def filters(channels: int = 3) -> NDArray[np.float64]:
    """Filters as training makes them: blurs and edges of one scale, in random mixtures of colours."""
    rng = np.random.default_rng(3)
    shapes = np.stack([np.outer(a, b) for a in ([1, 2, 1], [1, 0, -1]) for b in ([1, 2, 1], [1, 0, -1])]) / 4
    mixed = rng.standard_normal((CHANNELS, channels, len(shapes))) @ shapes.reshape(len(shapes), 9)
    return np.asarray(mixed.reshape(CHANNELS, channels, 3, 3))


def convolve(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = [[sum(signal.correlate2d(i, w, "valid") for i, w in zip(image, f, strict=True)) for f in weights] for image in x]
    return np.asarray(rows)


def batch_norm(net: Net, x: str, values: NDArray[np.float64]) -> str:
    """A batch normalisation whose running statistics are those of `values`."""
    ones = np.ones(values.shape[1])
    statistics = (values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3)))
    return net.add("BatchNormalization", x, *(net.weight(part) for part in (ones, 0 * ones, *statistics)))


def head(net: Net, x: str, channels: int = CHANNELS) -> onnx.ModelProto:
    pooled = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", x)))
    return net.model([net.dense(pooled, channels, 3)])


def trained(tmp_path: Path, preset: str, channels: int = 3, contrast: float = 1.0, build: Build | None = None) -> Model:
    """Convolution and batch normalisation with the statistics of `other_images` under a preset."""
    net, weights = Net(("N", channels, SIDE, SIDE)), filters(channels)
    stored = convolve(feed(other_images(channels), preset, contrast), weights)
    x = build(net, "image", net.weight(weights)) if build else net.add("Conv", "image", net.weight(weights))
    return open_model(
        save(head(net, batch_norm(net, x, stored)), tmp_path / f"{preset}.onnx"), options=color_of(preset, channels)
    )


def color_of(preset: str, channels: int = 3) -> ModelOptions:
    return ModelOptions(color="BGR" if PRESETS[preset].color == "BGR" else "RGB") if channels == 3 else ModelOptions()


@pytest.mark.parametrize("preset", CANDIDATES)
def test_first_batch_normalisation_names_the_preset(tmp_path: Path, preset: str) -> None:
    found = infer_pixels(trained(tmp_path, preset))
    assert found is not None
    assert found.sure
    assert found.preset == preset
    assert min(found.scores, key=lambda name: found.scores[name]) == preset
    assert set(found.scores) == set(CANDIDATES)
    assert "stored in training" in found.reason


@pytest.mark.parametrize("preset", ["symmetric", "unit", "byte"])
def test_grey_networks_have_three_candidates(tmp_path: Path, preset: str) -> None:
    found = infer_pixels(trained(tmp_path, preset, channels=1))
    assert found is not None
    assert found.sure
    assert found.preset == preset
    assert set(found.scores) == {"symmetric", "unit", "byte"}


def test_evidence_depends_on_the_file_alone(tmp_path: Path) -> None:
    model = trained(tmp_path, "imagenet")
    other = replace(model, preprocess=replace(model.preprocess, scale=1.0, mean=(7.0,), std=(3.0,)))
    assert infer_pixels(model) == infer_pixels(other) == infer_pixels(open_model(model.path))


def test_what_stands_before_the_normalisation_may_move_values(tmp_path: Path) -> None:
    def build(net: Net, x: str, weights: str) -> str:
        x = net.add("Cast", net.add("Identity", x), to=TensorProto.FLOAT)
        return net.add("Identity", net.add("Conv", x, weights))

    found = infer_pixels(trained(tmp_path, "imagenet", build=build))
    assert found is not None
    assert found.sure
    assert found.preset == "imagenet"


def test_networks_that_take_channels_last(tmp_path: Path) -> None:
    net, weights = Net(("N", SIDE, SIDE, 3)), filters()
    stored = convolve(feed(other_images(), "byte"), weights)
    x = net.add("Conv", net.add("Transpose", "image", perm=[0, 3, 1, 2]), net.weight(weights))
    found = infer_pixels(open_model(save(head(net, batch_norm(net, x, stored)), tmp_path / "last.onnx")))
    assert found is not None
    assert found.sure
    assert found.preset == "byte"


def test_batch_normalisation_of_the_input(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    x = batch_norm(net, "image", feed(other_images(), "imagenet"))
    found = infer_pixels(open_model(save(head(net, net.conv(x, 3, 8), 8), tmp_path / "input.onnx")))
    assert found is not None
    assert found.sure
    assert found.preset == "imagenet"


def test_fixed_batches_are_filled(tmp_path: Path) -> None:
    net, weights = Net((4, 3, SIDE, SIDE)), filters()
    stored = convolve(feed(other_images(), "unit"), weights)
    x = batch_norm(net, net.add("Conv", "image", net.weight(weights)), stored)
    found = infer_pixels(open_model(save(head(net, x), tmp_path / "four.onnx")))
    assert found is not None
    assert found.sure
    assert found.preset == "unit"


def test_contrast_between_two_presets_is_not_decided(tmp_path: Path) -> None:
    """Images of 1.6 times the contrast have the spread of ImageNet's statistics and of [−1, 1] about equally."""
    found = infer_pixels(trained(tmp_path, "symmetric", contrast=1.5))
    assert found is not None
    assert not found.sure
    assert "does not tell them apart" in found.reason


def test_statistics_that_no_candidate_explains(tmp_path: Path) -> None:
    found = infer_pixels(trained(tmp_path, "byte", contrast=40.0))
    assert found is not None
    assert not found.sure


def test_statistics_that_no_training_changed_are_no_evidence(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    fresh = np.stack([np.ones((SIDE, SIDE)), -np.ones((SIDE, SIDE))])[:, None].repeat(8, axis=1)  # mean 0, variance 1
    model = open_model(save(head(net, batch_norm(net, net.conv("image", 3, 8), fresh), 8), tmp_path / "fresh.onnx"))
    assert find_stored_statistics(model.graph, "image") == []
    found = infer_pixels(model)
    assert found is not None
    assert not found.sure
    assert "hint only" in found.reason


def test_merged_layers_are_a_hint_only(tmp_path: Path) -> None:
    """Layers whose biases centre them for [0, 1]."""
    net, weights = Net(("N", 3, SIDE, SIDE)), filters()
    bias = -convolve(feed(other_images(), "unit"), weights).mean(axis=(0, 2, 3))
    found = infer_pixels(
        open_model(save(head(net, net.add("Conv", "image", net.weight(weights), net.weight(bias))), tmp_path / "merged.onnx"))
    )
    assert found is not None
    assert not found.sure
    assert found.preset == "unit"


def test_biases_that_are_added_after_a_layer_count(tmp_path: Path) -> None:
    net, weights = Net(("N", 3, SIDE, SIDE)), filters()
    bias = -convolve(feed(other_images(), "unit"), weights).mean(axis=(0, 2, 3))
    added = net.add("Add", net.add("Conv", "image", net.weight(weights)), net.weight(bias.reshape(1, -1, 1, 1)))
    found = infer_pixels(open_model(save(head(net, added), tmp_path / "added.onnx")))
    assert found is not None
    assert found.preset == "unit"


@pytest.mark.parametrize(
    ("low", "high", "preset", "sure"),
    [(-2.12, 2.64, "imagenet", True), (0.0, 255.0, "byte", True), (-3.0, 5.0, "imagenet", False)],
)
def test_quantiser_of_the_image(tmp_path: Path, low: float, high: float, preset: str, sure: bool) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    scale = (high - low) / 255
    grid = (net.weight(np.float32(scale)), net.weight(np.uint8(round(-low / scale))))
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", "image", *grid), *grid)
    found = infer_pixels(open_model(save(head(net, net.conv(x, 3, 8), 8), tmp_path / "quantised.onnx")))
    assert found is not None
    assert found.sure is sure
    assert found.preset == preset
    assert "quantiser" in found.reason


def test_eight_bit_inputs_tell_nothing_more(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE), elem_type=TensorProto.UINT8)
    x = net.conv(net.add("Cast", "image", to=TensorProto.FLOAT), 3, 8)
    assert infer_pixels(open_model(save(head(net, x, 8), tmp_path / "bytes.onnx"))) is None


def test_networks_that_cannot_be_run_tell_nothing(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    x = net.conv("image", 4, 8)  # four channels of three
    model = open_model(save(head(net, x, 8), tmp_path / "broken.onnx"))
    assert infer_pixels(model) is None


def test_work_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(tmp_path, "unit")
    tensor = find_stored_statistics(model.graph, "image")[0].tensor
    per_image = CHANNELS * 27 * (SIDE - 2) ** 2
    monkeypatch.setattr(pixel_parts, "MOST_WORK", 3 * per_image * len(CANDIDATES))
    drawn = []
    monkeypatch.setattr(
        pixel_images, "draw_natural_images", lambda count, size: drawn.append(count) or draw_natural_images(count, size)
    )
    measure_channels(model, [tensor])
    assert drawn == [3]
    monkeypatch.setattr(pixel_parts, "MOST_WORK", per_image)
    with pytest.raises(ValueError, match="too long"):
        measure_channels(model, [tensor])
    assert infer_pixels(model) is None


def test_layers_of_unknown_size_count_as_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that reads sizes from its image: inference does not know how much work it is."""
    net = Net(("N", 3, SIDE, SIDE))
    least = net.add("Mul", net.add("ReduceMean", "image", keepdims=0), net.weight(np.zeros(8, np.float32)))
    pads = net.add("Cast", least, to=TensorProto.INT64)
    x = net.conv(net.add("Pad", "image", pads), 3, CHANNELS)
    model = open_model(save(head(net, x), tmp_path / "sizes.onnx"))
    per_image = CHANNELS * 27 * SIDE**2
    monkeypatch.setattr(pixel_parts, "MOST_WORK", 2 * per_image * len(CANDIDATES))
    assert pixel_parts.plan_work(model, [pixel_parts.Tensor(net.nodes[-5].output[0])])[1] == 2


@pytest.mark.parametrize(
    ("operator", "settings", "runs"),
    [("Relu", {}, True), ("MaxPool", {"kernel_shape": [1, 1]}, True), ("MaxPool", {"kernel_shape": [1, 1], "strides": [0, 1]}, False),
     ("ConvTranspose", {"group": 0}, False), ("NonZero", {}, False)],
)  # fmt: skip
def test_only_listed_operators_are_run(tmp_path: Path, operator: str, settings: dict[str, object], runs: bool) -> None:
    """Others may end the process that runs them, or never end."""
    net = Net(("N", 3, SIDE, SIDE))
    inputs = ["image", *([net.random(3, 1, 1, 1)] if operator == "ConvTranspose" else [])]
    x = net.add(operator, *inputs, **settings)
    x = net.add("Cast", x, to=TensorProto.FLOAT) if operator == "NonZero" else x
    proto = net.model([net.add("Conv", x, net.random(4, 3, 1, 1))])
    model = open_model(save(proto, tmp_path / "own.onnx"))
    assert pixel_parts.may_run(pixel_parts.extract_part(model, [proto.graph.output[0].name])) is runs
    assert (infer_pixels(model) is not None) is runs


def test_fewer_layers_are_measured_where_another_operator_comes_between(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    x = net.conv("image", 3, 4)
    x = net.add("Conv", net.add("Sin", x), net.random(4, 4, 1, 1))
    model = open_model(save(head(net, x, 4), tmp_path / "sine.onnx"))
    part, _ = pixel_parts.plan_work(model, pixel_tensors.find_first_layers(model.graph, "image"))
    assert [node.op_type for node in part.proto.graph.node] == ["Conv"]


def test_time_and_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = trained(tmp_path, "unit")
    drawn = []
    monkeypatch.setattr(
        pixel_images, "draw_natural_images", lambda count, size: drawn.append(count) or draw_natural_images(count, size)
    )
    monkeypatch.setattr(pixel_parts, "MOST_PIXELS", 2 * SIDE * SIDE)
    assert infer_pixels(model) is not None
    assert drawn == [2]
    monkeypatch.setattr(pixel_statistics, "_SECONDS", 0.0)
    with pytest.raises(TimeoutError):
        measure_channels(model, [find_stored_statistics(model.graph, "image")[0].tensor])
    assert infer_pixels(model) is None


def test_measured_channels_are_those_of_the_convolution(tmp_path: Path) -> None:
    model = trained(tmp_path, "imagenet")
    tensor = find_stored_statistics(model.graph, "image")[0].tensor
    measured = measure_channels(model, [tensor])["imagenet"][tensor.name]
    expected = convolve(feed(draw_natural_images(8, SIDE), "imagenet"), filters())
    np.testing.assert_allclose(measured.mean, expected.mean(axis=(0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(measured.variance, expected.var(axis=(0, 2, 3)), rtol=1e-4)


def test_score_is_the_divergence_of_two_gaussians() -> None:
    """Against both integrals of the Kullback–Leibler divergence."""
    a, b = stats.norm(0.3, 1.4), stats.norm(-0.5, 0.8)
    ends = (-30, 30)
    both = integrate.quad(lambda t: a.pdf(t) * (a.logpdf(t) - b.logpdf(t)), *ends, limit=500)[0]
    both += integrate.quad(lambda t: b.pdf(t) * (b.logpdf(t) - a.logpdf(t)), *ends, limit=500)[0]
    score = compare_statistics(
        ChannelStatistics(np.array([0.3]), np.array([1.4**2])), ChannelStatistics(np.array([-0.5]), np.array([0.8**2]))
    )
    assert score == pytest.approx(np.log1p(both), rel=1e-6)


def test_images_have_the_statistics_of_photos() -> None:
    images = draw_natural_images(8, 64) / 255
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), (0.485, 0.456, 0.406), atol=0.02)
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)), 0.26, atol=0.02)
    grey = images.mean(axis=-1)
    assert np.corrcoef(grey[:, :, 1:].ravel(), grey[:, :, :-1].ravel())[0, 1] > 0.92  # of photos at this size: .95


def test_layers_that_need_other_inputs_are_left_out(tmp_path: Path) -> None:
    net = Net(("N", 3, SIDE, SIDE))
    proto = head(net, net.add("Mul", net.conv("image", 3, 8), "gain"), 8)
    proto.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]))
    found = infer_pixels(open_model(save(proto, tmp_path / "two.onnx")))
    assert found is not None
    assert not found.sure
    assert "first layer" in found.reason
