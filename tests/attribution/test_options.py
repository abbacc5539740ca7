"""Options of the methods: baselines, rules of one's own, and what makes no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.attribution.baselines import BLUR, baseline_for
from onnxspace.errors import ConfigError, ProbeError
from onnxspace.inputs.methods import BASELINES, METHODS, Method, Options, resolve_settings
from tests.helpers.nets import Net, save, worst_cosine
from tests.helpers.noise import probes


def test_baselines_in_pixels(tmp_path: Path) -> None:
    images = probes(3, 20)
    made = {word: baseline_for(word, images) for word in BASELINES}
    assert made["zero"] is None
    drawn = {word: baseline(images.images) for word, baseline in made.items() if baseline is not None}
    assert not drawn["black"].any()
    np.testing.assert_allclose(drawn["mean"][0, 0, 0], images.images.mean(axis=(0, 1, 2)), atol=0.5)
    assert (drawn["mean"] == drawn["mean"][0, 0, 0]).all()
    from scipy.ndimage import gaussian_filter

    exact = gaussian_filter(images.images.astype(float), (0, BLUR * 20, BLUR * 20, 0), mode="nearest")
    assert np.abs(drawn["blur"] - exact).mean() < 4  # Pillow's three boxes come close to a Gaussian
    Image.new("RGB", (50, 30), (10, 20, 30)).save(tmp_path / "b.png")
    file = baseline_for(tmp_path / "b.png", images)
    assert file is not None
    assert (file(images.images) == (10, 20, 30)).all()
    assert all(pixels.shape == images.images.shape for pixels in drawn.values())


def test_baselines_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"--baseline 'grey' is not an image file. Give one, or one of zero, mean, black, blur"
    ):
        baseline_for("grey", probes())
    (tmp_path / "text.png").write_text("nothing to see")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ProbeError, match=r"text\.png is not an image"):
        ox.score([tmp_path / "a.onnx"], probes(), options=Options(tmp_path / "text.png"))


def rescaling_inside(seed: int) -> Any:
    """The layout of tf2onnx for Keras' Rescaling(1/127.5, offset=−1), Conv2D, Conv2D, pooling and Dense on NHWC images."""
    net = Net(("N", 16, 16, 3), seed)
    x = net.add("Mul", "image", net.weight(np.float32(1 / 127.5)))
    x = net.add("Add", x, net.weight(np.float32(-1.0)))
    return _rest(net, net.add("Transpose", x, perm=[0, 3, 1, 2]))


def rescaling_outside(seed: int) -> Any:
    """The same network from PyTorch: NCHW images that come rescaled."""
    return _rest(Net(("N", 3, 16, 16), seed), "image")


def _rest(net: Net, x: str) -> Any:
    for inputs, outputs in ((3, 8), (8, 6)):
        bias = np.random.default_rng(inputs).standard_normal(outputs) / 4
        x = net.add("Relu", net.add("Conv", x, net.random(outputs, inputs, 3, 3), net.weight(bias), pads=[1] * 4))
    return net.model([net.dense(net.add("Flatten", net.add("GlobalAveragePool", x)), 6, 3)])


@pytest.fixture
def both(tmp_path: Path) -> list[Path]:
    inside = save(rescaling_inside(5), tmp_path / "keras.onnx")
    return [inside, save(rescaling_outside(5), tmp_path / "torch.onnx")]


MULTIPLIED: list[Method] = [name for name, spec in METHODS.items() if "baseline" in spec.options]


@pytest.mark.parametrize("method", MULTIPLIED)
def test_with_a_baseline_in_pixels_maps_do_not_depend_on_where_normalisation_sits(both: list[Path], method: Method) -> None:
    """`zero` is the network's own: black for the one, grey for the other."""
    images = probes(3)
    for baseline in ("mean", "black", "blur"):
        inside, outside = (ox.attribute(path, images, method, options=Options(baseline)) for path in both)
        np.testing.assert_allclose(inside, outside, rtol=1e-3, atol=1e-5 * np.abs(outside).max())
    inside, outside = (ox.attribute(path, images, method) for path in both)
    assert worst_cosine(inside, outside) < 0.9
    black = ox.attribute(both[0], images, method, options=Options("black"))
    np.testing.assert_array_equal(inside, black)


def test_the_affinity_of_such_a_pair_needs_a_baseline_in_pixels(both: list[Path]) -> None:
    assert ox.score(both, probes(3), options=Options("mean")).matrix[0, 1] >= 0.9999
    assert ox.score(both, probes(3)).matrix[0, 1] < 0.9
    for method in ("saliency", "smoothgrad", "unit-saliency", "lrp-composite"):
        assert ox.score(both, probes(3), method=method).matrix[0, 1] >= 0.9999


@pytest.mark.parametrize(
    ("methods", "options", "message"),
    [
        (["guess"], None, "--method: there is no method 'guess'; there are elrp, saliency"),
        (["saliency"], Options("black"), "--baseline is not an option of saliency. It applies to elrp, "),
        (["lrp-composite"], Options("black"), "--baseline is not an option of lrp-composite"),
        (
            ["elrp", "saliency"],
            Options(steps=5),
            "--steps is not an option of elrp or saliency. It applies to integrated-gradients.",
        ),
        (["integrated-gradients"], Options(steps=0), "--steps is 0 but must be a whole number from 1 to 1000"),
        (["smoothgrad"], Options(samples=1001), "--samples is 1001"),
        (["smoothgrad"], Options(noise=float("nan")), "--noise is nan but must be above 0 and at most 1"),
        (["smoothgrad"], Options(noise=0.0), "--noise is 0.0"),
        (["unit-saliency"], Options(units=1), "--units is 1 but must be a whole number from 2"),
    ],
)
def test_options_that_make_no_sense_are_refused(methods: list[str], options: Options | None, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve_settings(methods, options)
    assert message in str(refused.value)


def sigmoids(folder: Path) -> Path:
    net = Net(("N", 3, 16, 16))
    x = net.add("GlobalAveragePool", net.add("Sigmoid", net.conv("image", 3, 4)))
    return save(net.model([net.dense(net.add("Flatten", x), 4, 3)]), folder / "sigmoid.onnx")


def test_entries_over_a_rule_set_come_from_python_and_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, images = sigmoids(tmp_path), probes(2)
    entries = {"Sigmoid": "ratio-offset", "epsilon": 0.001}
    plain, other = (ox.attribute(path, images, options=options) for options in (None, Options(rules=entries)))
    assert worst_cosine(plain, other) < 0.999
    (tmp_path / "onnxspace.toml").write_text('[rules.elrp]\nSigmoid = "ratio-offset"\nepsilon = 0.001\n')
    result = ox.score([path], images, output=tmp_path / "kept")
    assert result.to_dict()["options"] == {"rules": entries}
    assert result.method_words == "elrp (Sigmoid ratio-offset, epsilon 0.001)"
    kept = np.load(next((tmp_path / "kept/maps").iterdir())).reshape(other.shape)
    assert worst_cosine(kept, other) >= 0.9999
    assert ox.score([path], images, method="saliency").options == {}
    Image.fromarray(images.images[0]).save("image.png")
    found = ox.explain([path], ["image.png"], methods=["saliency", "elrp"], options=Options(rules={"epsilon": 0.5}))
    assert found.options == {"rules": {"Sigmoid": "ratio-offset", "epsilon": 0.5}}


def test_rules_that_do_not_fit_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").touch()
    with pytest.raises(ConfigError, match="alpha − beta is 4 but must be 1"):
        ox.score([tmp_path / "none.onnx"], probes(2), method="lrp-alpha-beta", options=Options(rules={"alpha": 5.0}))
    with pytest.raises(ConfigError, match="rules is not an option of saliency"):
        ox.attribute(tmp_path / "none.onnx", probes(2), "saliency", options=Options(rules={"epsilon": 0.1}))


def test_a_rule_for_the_image_leaves_no_room_for_a_baseline(tmp_path: Path) -> None:
    options = Options("black", rules={"Input": "flat"})
    with pytest.raises(ConfigError, match="--baseline is not used by lrp-zplus, whose rule for the image needs none"):
        ox.attribute(sigmoids(tmp_path), probes(2), "lrp-zplus", options=options)
