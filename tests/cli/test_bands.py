"""Images of other numbers of bands through the commands: results, pages, spaces, fingerprints, pictures, rankings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace import scores
from onnxspace.inputs.arrays import crop_bands
from onnxspace.inputs.config import ModelOptions
from onnxspace.inputs.probes import Probes
from onnxspace.model import runtime
from onnxspace.model.encoder import find_encoder
from onnxspace.model.model import open_model
from tests.helpers import nets
from tests.helpers.sentences import Cli, parsed, refused
from tests.helpers.tiffs import pack_lzw, write_tiff

PROBE = ("--probe", "six.npy")


@pytest.fixture
def six(cli: Cli) -> Cli:
    """Two networks of six channels, and images of six bands."""
    for seed in range(2):
        nets.save(nets.classifier(("N", 6, 16, 16), seed), Path(f"six{seed}.onnx"))
    np.save("six.npy", np.random.default_rng(0).integers(0, 256, (4, 16, 16, 6), np.uint8))
    return cli


def test_result_and_page(six: Cli) -> None:
    found = six("score", "six0.onnx", "six1.onnx", "good.onnx", *PROBE, "--output", "out", "--json")
    assert found.code == 2
    assert [model["name"] for model in parsed(found.out)["models"]] == ["six0", "six1"]
    assert "good.onnx takes RGB images, but the probe images have 6 bands. State which of them it takes as `bands`" in found.err
    assert np.load("out/probes.npy").shape == (4, 16, 16, 6)
    assert six("report", "out", "-o", "page.html").code == 0
    assert "data:image/webp" in Path("page.html").read_text()


def test_bands_in_the_configuration(six: Cli) -> None:
    Path("onnxspace.toml").write_text('bands = ["b", "g", "r", "n", "s", "t"]\n[models.good]\nbands = ["r", "g", "b"]\n')
    found = six("score", "six0.onnx", "good.onnx", *PROBE, "--json", "--quiet")
    assert (found.code, len(parsed(found.out)["models"])) == (0, 2)
    Path("onnxspace.toml").write_text("[models.good]\nbands = [0, 1, 7]\n")
    found = six("score", "good.onnx", "six0.onnx", "six1.onnx", *PROBE, "--quiet")
    assert found.code == 2
    assert "good.onnx takes band 7 of the probe images, but they have 6" in found.err


def test_space(six: Cli) -> None:
    assert six("space", "create", "z.space", *PROBE).code == 0
    assert six("space", "add", "z.space", "six0.onnx", "six1.onnx", "--quiet").code == 0
    assert six("space", "verify", "z.space").code == 0
    refused(six("space", "add", "z.space", "good.onnx", "--quiet"), "good.onnx takes RGB images")
    refused(six("space", "add", "z.space", "six0.onnx", "--probe", "other.npy"), "other.npy")


def test_fingerprints_of_other_bands_are_not_compared(six: Cli) -> None:
    assert six("fingerprint", "six0.onnx", *PROBE, "-o", "six0.fp", "--quiet").code == 0
    assert six("fingerprint", "good.onnx", "--images", "4", "-o", "good.fp", "--quiet").code == 0
    found = six("score", "six0.fp", "six1.onnx", "good.fp", *PROBE, "--quiet")
    assert found.code == 2
    assert "good.fp was made by elrp on 4 images of generated-0 (here: 4 of six), so it can't be compared" in found.err


def test_explain_takes_an_array_of_images(six: Cli) -> None:
    assert six("explain", "six0.onnx", "six1.onnx", "six.npy", "-o", "six.png").code == 0
    with Image.open("six.png") as picture:
        assert picture.format == "PNG"
    found = ox.explain(["six0.onnx"], ["six.npy"])
    probes = Probes("same", np.stack([crop_bands(image, 224) for image in np.load("six.npy")]))
    np.testing.assert_allclose(found.columns[0].maps, ox.attribute("six0.onnx", probes), rtol=1e-5, atol=1e-8)
    assert found.names == ("six[0]", "six[1]", "six[2]", "six[3]")
    np.testing.assert_array_equal(found.images, probes.images[..., :3])
    assert found.note == "images of 6 bands: bands 0, 1, 2 as red, green, blue"
    assert found.note in found._repr_html_()


@pytest.mark.parametrize("bands", [1, 2, 4, 6])
def test_explain_takes_tiff_files_of_any_bands(six: Cli, bands: int) -> None:
    names = [f"{one}.tif" for one in "ab"] if bands > 1 else ["a.npy", "b.npy"]
    images = [np.random.default_rng(k).integers(0, 256, (20, 24, bands), np.uint8) for k in range(2)]
    for name, image in zip(names, images, strict=True):
        write_tiff(Path(name), image, pack=pack_lzw) if bands > 1 else np.save(name, image[None])
    nets.save(nets.classifier(("N", bands, 16, 16)), Path("net.onnx"))
    Path("onnxspace.toml").write_text(f"[models.net]\nbands = {list(range(bands))}\n")
    assert six("explain", "net.onnx", *names, "-o", "out.png").code == 0
    found = ox.explain(["net.onnx"], names)
    probes = Probes("same", np.stack([crop_bands(image, 224) for image in images]))
    np.testing.assert_allclose(
        found.columns[0].maps, ox.attribute(open_model("net.onnx", options=options_of(bands)), probes), rtol=1e-5, atol=1e-8
    )
    shown = probes.images[..., :3] if bands > 2 else np.repeat(probes.images[..., :1], 3, axis=3)
    np.testing.assert_array_equal(found.images, shown)
    assert found.names == ("a", "b")


def options_of(bands: int) -> ModelOptions:
    return ModelOptions(bands=tuple(range(bands)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("good.onnx", "six.npy"), "good.onnx takes RGB images, but the probe images have 6 bands"),
        (("six0.onnx", "six.npy", "photo.png"), "photo.png is a photo, and six.npy has bands. Explain them apart."),
        (("six0.onnx", "six.npy", "four.npy"), "four.npy has 4 bands, six.npy has 6. Explain them apart."),
        (("six0.onnx", "many.npy"), "many.npy holds 33 images, more than the 32 that a picture shows."),
    ],
)
def test_images_that_can_not_be_explained(six: Cli, words: tuple[str, ...], message: str) -> None:
    Image.new("RGB", (20, 20)).save("photo.png")
    np.save("four.npy", np.zeros((1, 16, 16, 4), np.uint8))
    np.save("many.npy", np.zeros((33, 16, 16, 6), np.uint8))
    refused(six("explain", *words, "-o", "out.png", "--quiet"), message)
    assert not Path("out.png").exists()


@pytest.fixture
def labelled(six: Cli) -> Cli:
    """Images of six bands in folders of two classes as TIFF files of 16 bits, and in a table as arrays."""
    rows = ["path,label"]
    for k in range(16):
        label = "ab"[k % 2]
        image = np.random.default_rng(k).integers(0, 2000, (16, 16, 6)).astype(np.uint16) + 500 * (k % 2)
        Path("data", label).mkdir(parents=True, exist_ok=True)
        write_tiff(Path("data", label, f"{k:02}.tif"), image, pack=pack_lzw)
        np.save(f"{k:02}.npy", image)
        rows.append(f"{k:02}.npy,{label}")
    Path("data.csv").write_text("\n".join(rows))
    return six


@pytest.mark.parametrize("data", ["data", "data.csv"])
def test_transfer_ranks_by_images_of_bands(labelled: Cli, data: str) -> None:
    found = labelled("transfer", "six0.onnx", "six1.onnx", "--data", data, "--by", "knn", "--by", "logme", "--json", "--quiet")
    assert found.code == 0
    order = sorted(range(16), key=lambda k: (k % 2, k)) if data == "data" else list(range(16))
    images = np.stack([np.load(f"{k:02}.npy") for k in order])
    values = np.rint(images.astype(np.float64) * 255 / images.max()) / 127.5 - 1
    labels = np.array(["ab"[k % 2] for k in order], object)
    ranked = parsed(found.out)
    assert [model["name"] for model in ranked["models"]] == ["six0", "six1"]
    for name, value in zip(("six0", "six1"), ranked["scores"]["logme"], strict=True):
        opened = open_model(f"{name}.onnx")
        given = {"image": values.transpose(0, 3, 1, 2).astype(np.float32)}
        features = runtime.run(opened.network.with_outputs(find_encoder(opened).tensors), given)[0]
        assert value == pytest.approx(scores.logme(features, labels), rel=1e-4)


def test_transfer_refuses_files_of_other_bands(labelled: Cli) -> None:
    np.save("00.npy", np.zeros((16, 16, 5), np.uint8))
    refused(
        labelled("transfer", "six0.onnx", "six1.onnx", "--data", "data.csv", "--quiet"),
        "number of bands than the first image, 5",
    )
    np.save("00.npy", np.zeros((3, 16, 16, 6), np.uint8))
    refused(
        labelled("transfer", "six0.onnx", "six1.onnx", "--data", "data.csv", "--quiet"),
        "00.npy holds uint8 [3, 16, 16, 6]. Save one image as numbers [height, width, bands].",
    )
