"""`explain --animate`: maps at successive layers, as frames and on a sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

import onnxspace as ox
from onnxspace.inputs.targets import make_targets
from onnxspace.report import gallery
from onnxspace.report.animation import draw_frames
from onnxspace.report.explanation import Column, Explanation
from tests.helpers.asknets import Transformer, export
from tests.helpers.commands import Run
from tests.helpers.nets import classifier, save

COMMAND = "explain"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model and a picture."""
    monkeypatch.chdir(tmp_path)
    save(classifier(), tmp_path / "a.onnx")
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((224, 224)).save(tmp_path / "cat.png")
    return tmp_path


def measure(path: Path) -> tuple[str | None, int, tuple[int, int]]:
    with Image.open(path) as picture:
        return picture.format, getattr(picture, "n_frames", 1), picture.size


@pytest.mark.parametrize(("name", "kind"), [("x.gif", "GIF"), ("x.webp", "WEBP"), ("x.apng", "PNG")])
def test_a_frame_per_layer_and_a_sheet(run: Run, place: Path, name: str, kind: str) -> None:
    code, out, err = run("a.onnx", "cat.png", "--animate", name, "-o", "sheet.png")
    assert (code, out) == (0, "")
    assert "note: a: maps at 3 layers" in err
    found = measure(place / name)
    assert found[:2] == (kind, 3)
    assert found[2][0] < measure(place / "sheet.png")[2][0]


def test_maps_at_the_image_are_those_of_each_layer_as_encoder(place: Path) -> None:
    found = ox.explain(["a.onnx"], ["cat.png"], animate="x.gif")
    assert [column.layer for column in found.columns] == ["t1", "t5", "t6"]
    for column in found.columns:
        alone = ox.explain(["a.onnx"], ["cat.png"], encoder=column.layer).columns[0]
        np.testing.assert_allclose(column.maps, alone.maps, rtol=1e-4, atol=1e-6 * float(np.abs(alone.maps).max()))


def weigh_by_hand(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grad-CAM of class 1 at the first layer, by Torch's own modules."""
    weights = [torch.from_numpy(numpy_helper.to_array(t).copy()) for t in classifier().graph.initializer]
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1, size=(16, 16), mode="bilinear", antialias=True
    )
    first = torch.nn.functional.conv2d(pixels, weights[0], padding=1).relu().requires_grad_(True)
    second = torch.nn.functional.conv2d(first, weights[1], padding=1).relu().mean(dim=(2, 3))
    torch.nn.functional.linear(second, weights[2])[0, 1].backward()
    assert first.grad is not None
    return (first.grad.mean(dim=(2, 3), keepdim=True) * first).sum(dim=1).relu().detach().numpy()[0]


def test_activations_are_weighted_at_every_layer_for_a_class(place: Path) -> None:
    found = ox.explain(["a.onnx"], ["cat.png"], methods=["grad-cam"], targets=make_targets(["1"]), animate="x.webp")
    assert {column.target for column in found.columns} == {"class 1"}
    assert "t1" in [column.layer for column in found.columns]
    for column in found.columns:
        alone = ox.explain(["a.onnx"], ["cat.png"], methods=["grad-cam"], targets=make_targets(["1"]), encoder=column.layer)
        np.testing.assert_allclose(column.maps, alone.columns[0].maps, rtol=1e-4, atol=1e-7)
        assert column.captions == alone.columns[0].captions
    by_hand = weigh_by_hand(found.images[0])
    large = np.asarray(Image.fromarray(by_hand).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.corrcoef(large.ravel(), found.columns[0].maps.ravel())[0, 1] > 0.99


def test_layers_of_a_transformer_end_where_positions_reach_the_class_token(place: Path) -> None:
    """The blocks' outputs, of which the last has no gradient at the positions, and the norm before the last attention."""
    torch.manual_seed(0)
    net = Transformer(depth=3).eval()
    export(net, place / "vit.onnx")
    found = ox.explain(["vit.onnx"], ["cat.png"], methods=["layer-cam"], targets=make_targets(["1"]), animate="x.gif")
    assert len(found.columns) >= 4
    assert all(column.maps.any() for column in found.columns)
    assert "every map" not in " ".join(found.warnings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--animate", "x.png"), "GIF animation"),
        (("--animate", "x.gif", "--method", "elrp", "--method", "saliency"), "one model by one method"),
        (("--animate", "x.gif", "--method", "smoothgrad"), "no map at every layer"),
        (("--animate", "x.gif", "--class", "1"), "explains the layers themselves, not class 1"),
        (("--animate", "x.gif", *["cat.png"] * 4), "at most 4 images, not 5"),
        (("--animate", "x.gif", "--faithfulness"), "--animate"),
    ],
)
def test_what_can_not_be_animated_is_refused(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("a.onnx", "cat.png", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert {path.name for path in place.iterdir()} == {"a.onnx", "cat.png"}


def layered(columns: int) -> Explanation:
    draw = np.random.default_rng(1)
    made = [
        Column(
            "net",
            "elrp",
            True,
            draw.normal(size=(1, 24, 24)).astype(np.float32),
            layer=f"/net/block{k}/block{k}.0/relu/Relu_output_0",
        )
        for k in range(columns)
    ]
    return Explanation(("cat",), draw.integers(0, 256, (1, 24, 24, 3), dtype=np.uint8), tuple(made))


def test_all_frames_have_one_size_and_one_scale() -> None:
    frames = draw_frames(layered(4), overlay=False)
    assert len({frame.size for frame in frames}) == 1
    bars = [np.asarray(frame)[-80:-40] for frame in frames]
    for bar in bars[1:]:
        np.testing.assert_array_equal(bar, bars[0])


def test_many_maps_of_one_image_fill_several_rows(tmp_path: Path) -> None:
    sizes = []
    for columns in (5, 6, 24):
        gallery.draw_explanation(layered(columns), tmp_path / "x.png")
        sizes.append(measure(tmp_path / "x.png")[2])
    assert sizes[1][0] < sizes[0][0]  # 7 panels are 4 and 3
    assert sizes[1][1] > sizes[0][1]
    assert sizes[2][0] <= sizes[0][0]
