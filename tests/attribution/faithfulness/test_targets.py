"""Faithfulness of maps of a class, a value, a region, and of activations: measured on the number that they explain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import onnxspace as ox
from onnxspace.attribution.faithfulness.neighbours import draw_neighbour
from onnxspace.errors import ConfigError, ModelError
from onnxspace.evaluation.faithfulness.outcome import Faithfulness
from onnxspace.inputs.config import Config, ModelOptions
from onnxspace.inputs.faithfulness import FaithfulnessSettings, Followed
from onnxspace.inputs.methods import Method, Options
from onnxspace.inputs.targets import Target, make_targets
from tests.attribution.faithfulness.test_measures import SIZE, save_linear
from tests.attribution.test_targets import NUMBERS, Detector
from tests.helpers.asknets import RANGE, SIDE, Segmenter, export, make_network
from tests.helpers.nets import classifier, save
from tests.helpers.noise import probes as draw_noise
from tests.oracles import faithfulness as slow

PROBES = ox.Probes.generate(3, SIZE)
CURVES = FaithfulnessSettings(("deletion", "insertion"), steps=6)


def measure(
    path: Path,
    methods: list[Method],
    targets: tuple[Target, ...],
    settings: FaithfulnessSettings,
    probes: ox.Probes = PROBES,
    options: Options | None = None,
) -> Faithfulness:
    return ox.measure_faithfulness(
        path, probes, methods, targets=targets, settings=settings, options=options, pixels="symmetric", device="cpu"
    )


def run_logits(path: Path, image: NDArray[np.float64]) -> NDArray[np.float64]:
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": image[None].astype(np.float32)})[0][0], np.float64)


@pytest.mark.parametrize("followed", ["auto", "value"])
@pytest.mark.parametrize("method", ["gradient-x-input", "grad-cam"])
def test_curves_of_a_class_follow_it_in_the_order_of_signed_maps(tmp_path: Path, method: Method, followed: Followed) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    settings = FaithfulnessSettings(("deletion", "insertion"), followed=followed, steps=6)
    (got,) = measure(path, [method], make_targets(["2"]), settings).models
    assert got.followed == ("the explained value" if followed == "value" else "the probability of the explained class")
    maps = ox.attribute(
        ox.open_model(path, options=ModelOptions(scale=1 / 127.5, mean=(1.0,), std=(1.0,))),
        PROBES,
        method,
        target=2,
        device="cpu",
    ).astype(np.float64)

    def score(image: NDArray[np.float64]) -> float:
        logits = run_logits(path, image)
        return float(logits[2] if followed == "value" else np.exp(logits[2]) / np.exp(logits).sum())

    mean = np.broadcast_to(np.rint(PROBES.images.mean(axis=(0, 1, 2))).astype(np.uint8), (SIZE, SIZE, 3))
    for image, pixels in enumerate(PROBES.images):
        whole, gone = (values.transpose(2, 0, 1) / 127.5 - 1 for values in (pixels, mean))
        blur = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(10 / 224 * SIZE))).transpose(2, 0, 1)
        order = [divmod(int(place), SIZE) for place in np.argsort(-maps[image].ravel(), kind="stable")]
        for name, (start, end) in {"deletion": (whole, gone), "insertion": (blur / 127.5 - 1, whole)}.items():
            expected = slow.curve(score, order, start, end, 6)
            last = np.unique(maps[image]).size == SIZE * SIZE  # equal values are in random order
            assert got.curves[name][0, image, [0, -1]] == pytest.approx(expected[[0, -1]], abs=2e-5)
            if last:
                assert got.curves[name][0, image] == pytest.approx(expected, abs=2e-5)


def test_the_product_of_a_linear_network_predicts_all_changes_of_its_class_and_of_its_lead(tmp_path: Path) -> None:
    path = save_linear(np.random.default_rng(0).standard_normal((3, 3, SIZE, SIZE)), tmp_path / "linear.onnx")
    settings = FaithfulnessSettings(("infidelity",))
    targets = (*make_targets(["1"]), *make_targets(["1"], contrast=True), *make_targets(top=2))
    name = onnxruntime.InferenceSession(path.read_bytes()).get_outputs()[0].name
    targets = (*targets, Target(output=name, index="0,2"))
    found = measure(path, ["gradient-x-input"], targets, settings, options=Options(baseline="mean")).models
    assert [one.target for one in found] == [target.words for target in targets]
    assert max(one.values["infidelity"][0].max() for one in found) < 1e-9
    of_encoder = measure(path, ["gradient-x-input"], (), settings, options=Options(baseline="mean")).models[0]
    assert of_encoder.target == ""
    assert of_encoder.values["infidelity"][0].max() < 1e-9


def draw_ties(path: Path) -> ox.Probes:
    """Grey images, whose most probable class of a linear network changes with any noise."""
    images = np.random.default_rng(1).integers(126, 130, (3, SIZE, SIZE, 3), dtype=np.uint8)
    settings = FaithfulnessSettings(("sensitivity",), draws=4)
    flips = [
        run_logits(path, values.transpose(2, 0, 1) / 127.5 - 1).argmax()
        for image in images
        for values in (image, *(draw_neighbour(image, settings, draw) for draw in range(4)))
    ]
    assert len(set(flips)) > 1
    return ox.Probes("grey", images)


def test_the_class_of_a_rank_stays_that_of_the_image_under_noise_and_random_weights(tmp_path: Path) -> None:
    path = save_linear(np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)), tmp_path / "linear.onnx")
    settings = FaithfulnessSettings(("sensitivity",), draws=4)
    (got,) = measure(path, ["saliency"], make_targets(top=1), settings, draw_ties(path)).models
    assert got.values["sensitivity"][0].tolist() == [0, 0, 0]


def test_methods_of_activations_are_measured_on_the_most_probable_class_and_rollout_beside_the_encoder(tmp_path: Path) -> None:
    export(make_network("transformer"), tmp_path / "net.onnx")
    settings = FaithfulnessSettings(steps=3, perturbations=4, draws=1, stages=3)
    methods: list[Method] = ["elrp", "grad-cam", "grad-cam++", "layer-cam", "attention-rollout"]
    found = ox.measure_faithfulness(
        tmp_path / "net.onnx",
        draw_noise(3, SIDE),
        methods,
        settings=settings,
        config=Config(models={"net": RANGE}),
        device="cpu",
    ).models
    assert [one.methods for one in found] == [("elrp", "attention-rollout"), ("grad-cam", "grad-cam++", "layer-cam")]
    assert [one.target for one in found] == ["", "most probable class"]
    for one in found:
        for name in ("deletion", "insertion", "infidelity", "randomisation"):
            assert np.isfinite(one.values[name][: len(one.methods)]).all(), name  # type: ignore[index]
        assert one.randomisation is not None
        assert len(one.randomisation.layers) == 3
    assert any("positions, and resized" in note for note in found[1].notes)


def test_a_region_is_followed_at_its_pixels(tmp_path: Path) -> None:
    net, images = Segmenter(), draw_noise(2, SIDE)
    model = export(net, tmp_path / "net.onnx")
    settings = FaithfulnessSettings(("deletion",), steps=2)
    half = Target(region=make_targets(region=f"0,0,{SIDE},{SIDE // 2}")[0].region, word="1")
    found = ox.measure_faithfulness(
        tmp_path / "net.onnx",
        images,
        ["saliency"],
        targets=[half],
        settings=settings,
        config=Config(models={"net": RANGE}),
        device="cpu",
    ).models[0]
    assert found.followed == "the mean probability of the explained class at the explained pixels"
    with torch.no_grad():
        outputs = net.eval().float()(torch.from_numpy(model.preprocess(images.images)))
    rows = outputs.shape[2] // 2
    expected = outputs.softmax(dim=1)[:, 1, :rows].mean(dim=(1, 2))
    assert found.curves["deletion"][0, :, 0] == pytest.approx(expected.numpy(), abs=1e-5)


@pytest.mark.parametrize("form", list(NUMBERS))
def test_the_score_of_the_nearest_box_is_followed(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    net, images = Detector(form).eval(), draw_noise(2, SIDE)
    outputs, scores = NUMBERS[form]
    model = export(net, tmp_path / "net.onnx", outputs=outputs)
    proto = onnx.load(str(tmp_path / "net.onnx"))
    onnx.helper.set_model_props(proto, {"names": "{0: 'cat', 1: 'dog'}", "stride": "8"})
    onnx.save(proto, str(tmp_path / "net.onnx"))
    settings = FaithfulnessSettings(("deletion", "infidelity"), steps=2, perturbations=6)
    target = make_targets(["dog"], box="16.5,9,7,6")
    found = ox.measure_faithfulness(
        tmp_path / "net.onnx",
        images,
        ["gradient-x-input"],
        targets=target,
        settings=settings,
        config=Config(models={"net": RANGE}),
        device="cpu",
    ).models[0]
    assert found.followed == "the explained value"
    with torch.no_grad():
        expected = scores(net(torch.from_numpy(model.preprocess(images.images))))[:, 1]
    assert found.curves["deletion"][0, :, 0] == pytest.approx(expected.numpy(), abs=1e-5)
    assert np.isfinite(found.values["infidelity"]).all()


def test_what_can_not_be_followed_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "a.onnx")
    with pytest.raises(
        ConfigError, match=r"--faithfulness-curves features follow the encoder, and not class 1\. Use probability"
    ):
        measure(path, ["elrp"], make_targets(["1"]), FaithfulnessSettings(followed="features"))
    name = onnxruntime.InferenceSession(path.read_bytes()).get_outputs()[0].name
    value = (Target(output=name, index="0,1"),)
    with pytest.raises(ConfigError, match=r"a\.onnx has no probability of .*\. Give --faithfulness-curves value"):
        measure(path, ["elrp"], value, FaithfulnessSettings(followed="probability"))
    assert measure(path, ["elrp"], value, CURVES).models[0].followed == "the explained value"
    with pytest.raises(ModelError, match=r"a\.onnx has no attention"):
        measure(path, ["attention-rollout"], (), CURVES)
    with pytest.raises(ConfigError, match="9"):
        measure(path, ["elrp"], make_targets(["9"]), CURVES)


def test_curves_may_follow_what_maps_of_the_encoder_explain(tmp_path: Path) -> None:
    path = save_linear(np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)), tmp_path / "linear.onnx")
    settings = FaithfulnessSettings(("deletion",), followed="value", steps=4)
    got = measure(path, ["gradient-x-input"], (), settings).models[0]
    assert got.followed == "the explained value"
    whole = [run_logits(path, image.transpose(2, 0, 1) / 127.5 - 1).sum() for image in PROBES.images]
    assert got.curves["deletion"][0, :, 0] == pytest.approx(whole, abs=1e-3)
