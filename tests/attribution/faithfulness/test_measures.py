"""Measures on networks whose exact maps, curves and changes are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from PIL import Image, ImageFilter

import onnxspace as ox
from onnxspace.attribution import gradients
from onnxspace.attribution.faithfulness.cascade import list_layers, randomise_cascade
from onnxspace.attribution.gradients import Batch, DifferentiableGraph, InputMaps
from onnxspace.errors import ConfigError
from onnxspace.evaluation.faithfulness.result import ModelFaithfulness
from onnxspace.inputs.faithfulness import FaithfulnessSettings
from onnxspace.inputs.methods import Method, Options
from onnxspace.model.model import open_model
from onnxspace.torchgraph.encoder_graph import convert
from tests.helpers.nets import Net, classifier, save
from tests.oracles import faithfulness as slow

SIZE = 16
PROBES = ox.Probes.generate(3, SIZE)
REMOVAL = FaithfulnessSettings(("deletion", "insertion", "infidelity"), steps=8)


def measure(
    path: Path,
    methods: list[Method],
    settings: FaithfulnessSettings,
    probes: ox.Probes = PROBES,
    options: Options | None = None,
) -> ModelFaithfulness:
    return ox.measure_faithfulness(
        path, probes, methods, settings=settings, options=options, pixels="symmetric", device="cpu"
    ).models[0]


def save_linear(weights: NDArray[np.float64], path: Path) -> Path:
    """A network of one dense layer, with weights [outputs, 3, SIZE, SIZE]."""
    net = Net(("N", 3, SIZE, SIZE))
    flat = net.weight(weights.reshape(len(weights), -1))
    return save(net.model([net.add("Gemm", net.add("Flatten", "image"), flat, transB=1)]), path)


@pytest.fixture
def one_pixel(tmp_path: Path) -> Path:
    """A network of two classes whose first one reads the pixel in row 5 and column 9."""
    weights = np.zeros((2, 3, SIZE, SIZE))
    weights[0, :, 5, 9] = 2
    return save_linear(weights, tmp_path / "pixel.onnx")


def white_pixel() -> ox.Probes:
    """Dark images with one white pixel, each otherwise different."""
    images = np.random.default_rng(0).integers(0, 60, (2, SIZE, SIZE, 3), dtype=np.uint8)
    images[:, 5, 9] = 255
    return ox.Probes("white", images)


def logistic(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def test_curves_of_a_network_that_reads_one_pixel_fall_and_rise_at_the_first_step(one_pixel: Path) -> None:
    probes = white_pixel()
    got = measure(one_pixel, ["saliency"], REMOVAL, probes)
    assert got.followed == "the probability of the class that the whole image gets"
    mean = np.rint(probes.images.mean(axis=(0, 1, 2)))
    whole, gone = logistic(2 * 3), logistic(2 * (mean / 127.5 - 1).sum())
    assert got.curves["deletion"][0] == pytest.approx(np.tile([whole, *[gone] * 8], (2, 1)), abs=1e-6)
    assert got.curves["insertion"][0][:, 1:] == pytest.approx(np.full((2, 8), whole), abs=1e-6)
    assert (got.curves["insertion"][0][:, 0] < whole - 0.1).all()
    assert got.values["deletion"][0] == pytest.approx([(whole + gone) / 2 / 8 + gone * 7 / 8] * 2, abs=1e-6)
    for row in got.curves["deletion"][1:].reshape(-1, 9):  # maps of chance: the step at which the pixel happens to go
        assert set(np.isclose(row, whole, atol=1e-6).tolist()) <= {True, False}
        assert (np.diff(np.isclose(row, whole, atol=1e-6).astype(int)) <= 0).all()
        assert row[-1] == pytest.approx(gone, abs=1e-6)


def test_gradient_times_input_of_a_linear_network_has_no_infidelity(tmp_path: Path) -> None:
    path = save_linear(np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)), tmp_path / "linear.onnx")
    got = measure(path, ["gradient-x-input"], REMOVAL, options=Options(baseline="mean"))
    other = measure(path, ["gradient-x-input", "saliency"], REMOVAL)
    assert got.values["infidelity"][0].max() < 1e-9
    assert other.values["infidelity"].min() > 1e-3  # of another baseline, of magnitudes, and of chance


def test_curves_are_those_of_a_loop_over_pixels_by_onnx_runtime(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    got = measure(path, ["elrp", "saliency"], REMOVAL)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def scores(image: NDArray[np.float64]) -> NDArray[np.float64]:
        logits = session.run(None, {"image": image[None].astype(np.float32)})[0][0].astype(np.float64)
        return np.asarray(np.exp(logits) / np.exp(logits).sum())

    def to_input(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        return pixels.transpose(2, 0, 1) / 127.5 - 1

    mean = np.broadcast_to(np.rint(PROBES.images.mean(axis=(0, 1, 2))).astype(np.uint8), (SIZE, SIZE, 3))
    for row, method in enumerate(got.methods):
        maps = ox.attribute(path, PROBES, method, device="cpu")  # type: ignore[arg-type]
        for image, pixels in enumerate(PROBES.images):
            whole = to_input(pixels)
            best = int(scores(whole).argmax())
            flat = np.argsort(-np.abs(maps[image].astype(np.float64)).ravel(), kind="stable")
            order = [divmod(int(place), SIZE) for place in flat]
            blur = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(10 / 224 * SIZE)))
            pairs = {"deletion": (whole, to_input(mean)), "insertion": (to_input(blur), whole)}
            for name, (start, end) in pairs.items():
                expected = slow.curve(lambda x, k=best: float(scores(x)[k]), order, start, end, 8)  # type: ignore[misc]
                assert got.curves[name][row, image] == pytest.approx(expected, abs=2e-5)


def test_networks_without_classes_are_followed_by_the_cosine_of_their_features(tmp_path: Path) -> None:
    net = Net(("N", 3, SIZE, SIZE))
    path = save(net.model([net.conv(net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4)), 8, 4)]), tmp_path / "dense.onnx")
    got = measure(path, ["elrp"], REMOVAL)
    assert got.followed == "the cosine of the encoder's features with those of the whole image"
    assert got.curves["deletion"][:, :, 0] == pytest.approx(np.ones((3, 3)), abs=1e-6)
    assert got.curves["insertion"][:, :, -1] == pytest.approx(np.ones((3, 3)), abs=1e-6)
    assert np.abs(got.curves["deletion"]).max() <= 1 + 1e-9
    with pytest.raises(
        ConfigError, match=r"dense.onnx has no single output with a number per class\. Follow its features instead\."
    ):
        measure(path, ["elrp"], FaithfulnessSettings(followed="probability"))


def test_classes_may_be_left_for_the_features(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    got = measure(path, ["elrp"], FaithfulnessSettings(("deletion",), followed="features", steps=4))
    assert "cosine" in got.followed
    assert got.curves["deletion"][0, :, 0] == pytest.approx(np.ones(3), abs=1e-6)


@pytest.mark.parametrize("ends", ["Softmax", ""])
def test_areas_of_probabilities_are_in_the_unit_interval_and_a_softmax_is_not_applied_twice(tmp_path: Path, ends: str) -> None:
    net = Net(("N", 3, SIZE, SIZE))
    x = net.add("Flatten", net.add("GlobalAveragePool", net.add("Relu", net.conv("image", 3, 8, pads=[1] * 4))))
    logits = net.dense(x, 8, 3)
    path = save(net.model([net.add(ends, logits, axis=1) if ends else logits]), tmp_path / "a.onnx")
    got = measure(path, ["elrp"], REMOVAL)
    curves = np.stack([got.curves["deletion"], got.curves["insertion"]])
    assert ((curves >= 0) & (curves <= 1)).all()
    assert curves[0, :, :, 0].min() >= 1 / 3  # the most probable of three classes
    bare = save(net.model([logits]), tmp_path / "bare.onnx")
    same = measure(bare, ["elrp"], FaithfulnessSettings(("deletion",), steps=8))
    if ends:
        assert got.curves["deletion"][:, :, 0] == pytest.approx(same.curves["deletion"][:, :, 0], abs=1e-6)


def test_scaling_all_maps_changes_nothing_that_ranks_or_compares_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    settings = FaithfulnessSettings(steps=4, draws=2, stages=2, perturbations=8)
    plain = measure(path, ["saliency"], settings)
    own = gradients.WAYS["absolute"]

    def scaled(network: DifferentiableGraph, batch: Batch, given: object) -> InputMaps:
        return InputMaps(1024 * own(network, batch, given).maps)  # type: ignore[arg-type]

    monkeypatch.setitem(gradients.WAYS, "absolute", scaled)  # type: ignore[arg-type]
    other = measure(path, ["saliency"], settings)
    assert set(other.values) == {"deletion", "insertion", "infidelity", "sensitivity", "randomisation"}
    for name, values in plain.values.items():
        assert other.values[name] == pytest.approx(values, abs=1e-12, nan_ok=True), name


def draw_edges(_network: DifferentiableGraph, batch: Batch, _settings: object) -> InputMaps:
    """An edge detector in the place of a method: what it draws is in the image alone."""
    grey = batch.values.mean(dim=1)
    down, right = grey.diff(dim=1, append=grey[:, -1:]), grey.diff(dim=2, append=grey[:, :, -1:])
    return InputMaps(torch.hypot(down, right))


def test_random_weights_change_saliency_but_no_edge_detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(classifier(units=8), tmp_path / "a.onnx")
    settings = FaithfulnessSettings(("randomisation",), stages=2)
    probes = ox.Probes.generate(12, SIZE)
    saliency = measure(path, ["saliency"], settings, probes)
    assert saliency.randomisation is not None
    assert saliency.randomisation.layers == (1, 2)
    assert saliency.values["randomisation"][0].mean() < 0.5
    assert saliency.unchanged() == ()
    monkeypatch.setitem(gradients.WAYS, "absolute", draw_edges)  # type: ignore[arg-type]
    edges = measure(path, ["saliency"], settings, probes)
    assert edges.randomisation is not None
    assert edges.randomisation.correlations == pytest.approx(np.ones((1, 2, 12)))
    assert edges.randomisation.structure == pytest.approx(np.ones((1, 2, 12)))
    assert edges.randomisation.mean_rise() == pytest.approx([0.0])
    assert edges.unchanged() == (
        "a: maps by saliency keep a rank correlation of 1.00 when all weights are random, so they show the image and not this network.",
    )


def test_sensitivity_of_a_linear_network_is_zero_for_its_gradient_and_bounded_for_the_product(tmp_path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE))
    path = save_linear(weights, tmp_path / "linear.onnx")
    got = measure(path, ["saliency", "gradient-x-input"], FaithfulnessSettings(("sensitivity",), draws=3))
    assert got.values["sensitivity"][0].tolist() == [0, 0, 0]
    gradient = np.abs(weights.sum(axis=0))
    values = PROBES.images.transpose(0, 3, 1, 2) / 127.5 - 1
    size = np.linalg.norm((weights.sum(axis=0) * values).mean(axis=1).reshape(3, -1), axis=1)
    most = np.linalg.norm(gradient.mean(axis=0)) * 5 / 127.5  # every channel of every pixel at the edge of the neighbourhood
    product = got.values["sensitivity"][1]
    assert (product > 0).all()
    assert (product <= most / size).all()


def test_results_are_the_same_again_in_other_batches_and_for_some_of_the_images(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    settings = FaithfulnessSettings(steps=5, draws=1, stages=1, deletion_baseline="black")
    first, again = (
        ox.measure_faithfulness(
            path, PROBES, ["smoothgrad"], settings=settings, device="cpu", batch_size=size, options=Options(samples=2)
        )
        for size in (1, 64)
    )
    part = ox.measure_faithfulness(
        path, ox.Probes("part", PROBES.images[1:]), ["smoothgrad"], settings=settings, device="cpu", options=Options(samples=2)
    )
    for name, values in first.models[0].values.items():
        assert again.models[0].values[name] == pytest.approx(values, abs=1e-4, nan_ok=True), name
        assert part.models[0].values[name] == pytest.approx(values[:, 1:], abs=1e-4, nan_ok=True), name
    other = measure(
        path,
        ["smoothgrad"],
        FaithfulnessSettings(("infidelity",), seed=1, deletion_baseline="black"),
        options=Options(samples=2),
    )
    assert (other.values["infidelity"] != first.models[0].values["infidelity"]).all()


def test_weights_are_randomised_from_the_end_with_their_mean_and_deviation(tmp_path: Path) -> None:
    model = open_model(save(classifier(), tmp_path / "a.onnx"))
    graph = convert(model, PROBES.images[:2]).graph
    before = {name: value.clone() for name, value in graph.named_buffers() if value.is_floating_point() and value.dim() == 4}
    names = list_layers(graph)
    assert [name.split("_")[0] for name in names] == ["conv", "conv"] or [name.split("_")[0].lower() for name in names] == [
        "conv"
    ] * 2
    once, all_ = randomise_cascade(graph, names, [1, 2], seed=3)
    after = [{name: value for name, value in stage.graph.named_buffers() if name in before} for stage in (once, all_)]
    assert [sum(bool((one[name] != before[name]).any()) for name in before) for one in after] == [1, 2]
    changed = next(name for name in before if (after[0][name] != before[name]).any())
    assert before[changed].shape[1] == 8  # the second convolution, which is the last
    assert (after[1][changed] == after[0][changed]).all()
    for name, value in before.items():
        assert (dict(graph.named_buffers())[name] == value).all()
        assert float(after[1][name].std()) == pytest.approx(float(value.std()), rel=0.25)
        assert abs(float(after[1][name].mean() - value.mean())) < 0.3 * float(value.std())


class _Images(CalibrationDataReader):
    """Four random images to calibrate with."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.images = iter([{"image": random.random((1, 3, SIZE, SIZE), dtype=np.float32)} for _ in range(4)])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:  # type: ignore[override]
        return next(self.images, None)


@pytest.mark.parametrize("form", list(QuantFormat))
def test_weights_of_quantised_networks_are_randomised_too(tmp_path: Path, form: QuantFormat) -> None:
    plain, path = save(classifier(), tmp_path / "a.onnx"), tmp_path / "int8.onnx"
    quantize_static(str(plain), str(path), _Images(), quant_format=form)
    graph = convert(open_model(path), PROBES.images[:2]).graph
    names = list_layers(graph)
    assert len(names) == 2
    (stage,) = randomise_cascade(graph, names, [2], seed=0)
    after = dict(stage.graph.named_buffers())
    changed = [name for name, value in graph.named_buffers() if (after[name] != value).any()]
    assert [after[name].dim() for name in changed] == [4, 4]
    got = measure(path, ["saliency"], FaithfulnessSettings(("randomisation",), stages=1))
    assert np.abs(got.values["randomisation"][0]).max() < 0.95


def test_a_network_without_layers_that_could_be_randomised_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxspace.attribution.faithfulness.randomisation.list_layers", lambda graph: [])
    got = measure(save(classifier(), tmp_path / "a.onnx"), ["elrp"], FaithfulnessSettings(("randomisation",)))
    assert got.measures == ()
    assert "a: no layer with trained weights is below what is explained, so none is randomised." in got.warnings


def test_a_network_that_takes_four_images_at_a_time_is_measured_as_one_that_takes_any_number(tmp_path: Path) -> None:
    paths = [
        save(classifier((count, 3, SIZE, SIZE)), tmp_path / f"{name}.onnx") for name, count in {"any": "N", "four": 4}.items()
    ]
    settings = FaithfulnessSettings(steps=4, draws=1, stages=1, perturbations=6)
    one, four = (measure(path, ["saliency"], settings) for path in paths)
    for name, values in one.values.items():
        assert four.values[name] == pytest.approx(values, abs=1e-4, nan_ok=True), name
