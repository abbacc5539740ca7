"""Networks with other numbers of channels than one or three, and videos: which bands of the probe images go where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import onnxspace as ox
from onnxspace.errors import ConfigError, ModelError
from onnxspace.inputs.bands import BandPreprocess, parse_band_names, parse_bands
from onnxspace.inputs.config import ModelOptions, load_config
from onnxspace.inputs.preprocess import Preprocess
from onnxspace.inputs.probes import Probes
from onnxspace.model.model import Model, open_model
from tests.helpers import nets

PROBES = Probes.generate(3, 32)
SIX = Probes("six", np.concatenate([Probes.generate(3, 32).images, Probes.generate(3, 32, seed=1).images], axis=3))


def opened(tmp_path: Path, proto: onnx.ModelProto, **options: object) -> Model:
    return open_model(nets.save(proto, tmp_path / "net.onnx"), options=replace(ModelOptions(), **options))  # type: ignore[arg-type]


def with_channels(channels: int) -> onnx.ModelProto:
    return nets.classifier(("N", channels, 16, 16))


def permuted_classifier(order: list[int]) -> onnx.ModelProto:
    """The classifier of three channels, with its channels in another order."""
    proto = nets.classifier()
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0])
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight[:, order].copy(), proto.graph.initializer[0].name))
    return proto


def test_bands_as_they_are_give_the_pixels_of_rgb() -> None:
    for height, width, resize in ((16, 16, "squash"), (20, 12, "crop"), (12, 20, "pad")):
        plain, bands = Preprocess(height, width, resize=resize), BandPreprocess(height, width, resize=resize, bands=(0, 1, 2))  # type: ignore[arg-type]
        np.testing.assert_array_equal(plain(PROBES.images), bands(PROBES.images))
    grey = BandPreprocess(16, 16, bands=parse_bands(["grey"]))
    np.testing.assert_array_equal(grey(PROBES.images), Preprocess(16, 16, color="GREY")(PROBES.images))


def test_bands_in_another_order(tmp_path: Path) -> None:
    plain = ox.attribute(opened(tmp_path, nets.classifier()), PROBES)
    moved = ox.attribute(opened(tmp_path, permuted_classifier([2, 0, 1]), bands=(2, 0, 1)), PROBES)
    assert nets.worst_cosine(plain, moved) >= 0.99999


def test_three_of_six_bands_are_those_three(tmp_path: Path) -> None:
    model = opened(tmp_path, nets.classifier(), bands=(3, 4, 5))
    other = ox.attribute(opened(tmp_path, nets.classifier()), Probes.generate(3, 32, seed=1))
    assert nets.worst_cosine(ox.attribute(model, SIX), other) >= 0.99999


@pytest.mark.parametrize("channels", [2, 5, 6])
def test_as_many_bands_as_channels_are_taken_in_their_order(tmp_path: Path, channels: int) -> None:
    model = opened(tmp_path, with_channels(channels))
    assert model.preprocess.channels == channels
    assert any("bands of the probe images" in words for words in model.assumed)
    images = Probes("many", np.ascontiguousarray(SIX.images[..., :channels]))
    maps = ox.attribute(model, images)
    assert maps.shape == (3, 32, 32)
    stated = opened(tmp_path, with_channels(channels), bands=tuple(range(channels)))
    np.testing.assert_array_equal(maps, ox.attribute(stated, images))


def test_two_channels_and_photos_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"net\.onnx takes images of 2 channels, but the probe images have 3.*`bands`"):
        ox.attribute(opened(tmp_path, with_channels(2)), PROBES)


def test_colour_network_and_six_bands_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"takes RGB images, but the probe images have 6.*bands = \[0, 1, 2\]"):
        ox.attribute(opened(tmp_path, nets.classifier()), SIX)


def test_band_beyond_the_last(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"takes band 3 of the probe images, but they have 3"):
        ox.attribute(opened(tmp_path, nets.classifier(), bands=(0, 1, 3)), PROBES)


def test_four_channels_need_their_bands(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing says what the fourth is"):
        opened(tmp_path, with_channels(4))
    assert ox.attribute(opened(tmp_path, with_channels(4), bands=(0, 1, 2, 5)), SIX).any()


def test_another_number_of_bands(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"takes 3 channels, but its configuration states 2 band"):
        opened(tmp_path, nets.classifier(), bands=(0, 1))
    with pytest.raises(ConfigError, match="Leave out `color`"):
        opened(tmp_path, nets.classifier(), bands=(0, 1, 2), color="BGR")


def test_mean_and_std_of_every_band(tmp_path: Path) -> None:
    model = opened(tmp_path, with_channels(2), bands=(5, 0), scale=1.0, mean=(10.0, 20.0), std=(2.0, 4.0))
    values, pixels = model.preprocess(SIX.images), model.preprocess.pixels(SIX.images).astype(np.float32)
    np.testing.assert_allclose(values[:, 1], (pixels[..., 1] - 20) / 4)
    np.testing.assert_array_equal(pixels[..., 0], BandPreprocess(16, 16, bands=(5,)).pixels(SIX.images)[..., 0])


def test_names_of_bands(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('bands = ["Blue", "green", "red", "nir"]\n[models.net]\nbands = ["red", "nir", 0]\n')
    assert load_config(tmp_path / "own.toml").models["net"].bands == (2, 3, 0)
    (tmp_path / "own.toml").write_text('[models.net]\nbands = ["blue", "grey"]\n')
    assert load_config(tmp_path / "own.toml").models["net"].bands == (2, -1)


@pytest.mark.parametrize("text", ['["nir"]', "[-1]", "[true]", "[1.5]", "[]", "3000000", '[["red"]]'])
def test_bands_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(f"[models.net]\nbands = {text}\n")
    with pytest.raises(ConfigError, match=r"own\.toml \[models\.net\]: bands must be a list"):
        load_config(tmp_path / "own.toml")


@pytest.mark.parametrize("text", ['["a", "A"]', '["a", 3]', "[]", '"red"'])
def test_names_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(f"bands = {text}\n")
    with pytest.raises(ConfigError, match=r"own\.toml: bands must"):
        load_config(tmp_path / "own.toml")
    with pytest.raises(ValueError, match="bands must"):
        parse_band_names(["nir", "NIR"])


VIDEO: dict[str, tuple[tuple[int | str, ...], tuple[int, ...]]] = {
    "NCTHW": (("N", 3, 4, 16, 16), (0, 1, 2, 3, 4)),
    "NTCHW": (("N", 4, 3, 16, 16), (0, 2, 1, 3, 4)),
    "NTHWC": (("N", 4, 16, 16, 3), (0, 4, 1, 2, 3)),
    "NTCHW, two at a time": ((2, 4, 3, 16, 16), (0, 2, 1, 3, 4)),
    "NCTHW, open frames": (("N", 3, "T", 16, 16), (0, 1, 2, 3, 4)),
}


def video(shape: tuple[int | str, ...], order: tuple[int, ...]) -> onnx.ModelProto:
    """A convolution in time and space, a mean, a head."""
    net = nets.Net(shape)
    x = "image" if order == (0, 1, 2, 3, 4) else net.add("Transpose", "image", perm=list(order))
    x = net.add("Relu", net.add("Conv", x, net.random(6, 3, 3, 3, 3), strides=[1, 2, 2]))
    x = net.add("Relu", net.add("Conv", x, net.random(5, 6, 1, 3, 3)))
    x = net.add("Flatten", net.add("GlobalAveragePool", x))
    return net.model([net.dense(x, 5, 3)])


def frames(count: int) -> Probes:
    """Three videos of different frames."""
    parts = [Probes.generate(3, 32, seed=seed).images for seed in range(count)]
    return Probes("videos", np.concatenate(parts, axis=3))


def reference(videos: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gradient of the encoder's sum with respect to videos [N, C, T, H, W], by Torch alone."""
    import torch

    weights = [onnx.numpy_helper.to_array(tensor).copy() for tensor in video(*VIDEO["NCTHW"]).graph.initializer]
    x = torch.from_numpy(videos).requires_grad_(True)
    y = torch.nn.functional.conv3d(x, torch.from_numpy(weights[0]), stride=(1, 2, 2)).relu()
    y = torch.nn.functional.conv3d(y, torch.from_numpy(weights[1])).relu().mean((2, 3, 4)).sum()
    return torch.autograd.grad(y, x)[0].numpy()


@pytest.mark.parametrize("name", VIDEO)
def test_maps_of_videos_are_means_over_frames_and_channels(tmp_path: Path, name: str) -> None:
    model, probes = opened(tmp_path, video(*VIDEO[name]), frames=4 if "open" in name else None, resize="squash"), frames(4)
    small = replace_size(probes)
    values = model.preprocess(small.images).reshape(3, 4, 3, 16, 16).transpose(0, 2, 1, 3, 4)
    gradient = reference(np.ascontiguousarray(values))
    for method, expected in (("saliency", np.abs(gradient)), ("gradient-x-input", gradient * values)):
        found = ox.attribute(model, small, method)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected.mean(axis=(1, 2)), rtol=1e-3, atol=1e-6)


def replace_size(probes: Probes) -> Probes:
    """The same at the size of the network, so that maps are not resized."""
    return Probes(probes.name, np.ascontiguousarray(probes.images[:, :16, :16]))


def test_still_image_in_every_frame(tmp_path: Path) -> None:
    model = opened(tmp_path, video(*VIDEO["NTCHW"]), still=True)
    small = replace_size(PROBES)
    image = Preprocess(16, 16)(small.images)
    gradient = reference(np.repeat(image[:, :, None], 4, axis=2))
    found = ox.attribute(model, small, "gradient-x-input")
    expected = (gradient.sum(axis=2) * image).mean(axis=1) / 4  # the mean over the channels of four equal frames
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def test_means_of_channels_hold_for_every_frame(tmp_path: Path) -> None:
    model = opened(tmp_path, video(*VIDEO["NTCHW"]), still=True, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0), scale=1 / 255)
    assert model.preprocess.mean == (0.1, 0.2, 0.3) * 4
    assert ox.attribute(model, PROBES).shape == (3, 32, 32)


def test_video_network_and_photos_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match=r"takes videos of 4 frames, 12 channels together, but the probe images have 3.*still = true"
    ):
        ox.attribute(opened(tmp_path, video(*VIDEO["NTCHW"])), PROBES)


def test_frames_that_contradict_the_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes 4 frames, not the 8"):
        opened(tmp_path, video(*VIDEO["NTCHW"]), frames=8)
    with pytest.raises(ConfigError, match="state `still = true`"):
        opened(tmp_path, video(*VIDEO["NTCHW"]), bands=(0, 1, 2))


def test_rules_apply_to_videos(tmp_path: Path) -> None:
    for method in ("elrp", "lrp-zplus", "lrp-composite"):
        maps = ox.attribute(opened(tmp_path, video(*VIDEO["NTHWC"])), frames(4), method)  # type: ignore[arg-type]
        assert np.isfinite(maps).all()
        assert maps.any(axis=(1, 2)).all()


@pytest.mark.parametrize("baseline", ["mean", "black", "blur"])
def test_baselines_of_six_bands(tmp_path: Path, baseline: str) -> None:
    model = opened(tmp_path, with_channels(6))
    maps = ox.attribute(model, SIX, "integrated-gradients", options=ox.Options(steps=4, baseline=baseline))
    assert maps.any(axis=(1, 2)).all()


def test_baseline_pictures_have_three_bands(tmp_path: Path) -> None:
    nets_image = tmp_path / "grey.png"
    from PIL import Image

    Image.new("RGB", (32, 32), "grey").save(nets_image)
    with pytest.raises(ConfigError, match=r"grey\.png has 3 bands, but the probe images have 6"):
        ox.attribute(opened(tmp_path, with_channels(6)), SIX, "elrp", options=ox.Options(baseline=nets_image))


@pytest.mark.parametrize("method", ["smoothgrad", "unit-saliency", "lrp-composite", "attnlrp"])
def test_methods_on_six_bands(tmp_path: Path, method: str) -> None:
    assert ox.attribute(opened(tmp_path, with_channels(6)), SIX, method).any(axis=(1, 2)).all()  # type: ignore[arg-type]


def test_zero_colour_of_bands_is_that_of_the_probe_images() -> None:
    from onnxspace.checking.child.input_range import zero_colour

    assert zero_colour(BandPreprocess(4, 4, scale=1.0, mean=(10.0, 20.0), bands=(2, 5))) == (0.0, 0.0, 10.0)
