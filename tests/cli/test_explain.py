"""`onnxspace explain`: what it draws, what it refuses, and that nothing half-drawn is left."""

from __future__ import annotations

import errno
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import onnxspace as ox
from onnxspace.attribution.gradients import DifferentiableGraph
from onnxspace.errors import ConfigError, OutputError
from onnxspace.inputs.methods import METHODS
from onnxspace.report import gallery
from onnxspace.report.explanation import Column, Explanation
from onnxspace.storage.printable import make_printable, shorten
from tests.helpers.commands import Run
from tests.helpers.nets import Net, classifier, save

COMMAND = "explain"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two models and two photos, one of them wider than high."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate("ab"):
        save(classifier(seed=seed), tmp_path / f"{name}.onnx")
    for seed, (name, shape) in enumerate({"cat.jpg": (40, 60, 3), "dog.png": (30, 30, 3)}.items()):
        noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(noise).resize((300, 200)).save(tmp_path / name)
    return tmp_path


ALL = ("a.onnx", "b.onnx", "cat.jpg", "dog.png")


def left(place: Path) -> set[str]:
    return {path.relative_to(place).as_posix() for path in place.rglob("*")} - set(ALL)


def size(path: Path | str) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def test_a_row_per_image_and_a_column_per_model_and_method(run: Run, place: Path) -> None:
    code, out, err = run(*ALL, "--method", "elrp", "--method", "saliency", "-o", "new/out.png")
    assert (code, out) == (0, "")
    assert [line.split(":")[0] for line in err.splitlines() if line.startswith("assumed")] == ["assumed for a, b"]
    assert err.splitlines()[1].split() == ["a,", "b", "16×16", "NCHW", "RGB?", "symmetric?", "guessed"]
    assert left(place) == {"new", "new/out.png"}
    assert run("cat.jpg", "a.onnx", "--quiet", "-o", "one.png") == (0, "", "")
    (wide, high), (narrow, low) = size("new/out.png"), size("one.png")
    step = round((gallery._CELL + gallery._GAP) * gallery._DPI)
    assert abs((wide - narrow) - 3 * step) <= 3
    assert abs((high - low) - step - round(gallery._BAR * gallery._DPI)) <= 3


def test_images_of_one_name_are_told_apart_by_their_folders(place: Path) -> None:
    for folder in ("star", "cross"):
        (place / folder).mkdir()
        shutil.copy(place / "dog.png", place / folder / "0.png")
    found = ox.explain(["a.onnx"], ["star/0.png", "cross/0.png", "cat.jpg"])
    assert found.names == ("star/0", "cross/0", "cat")


def test_a_second_drawing_is_equal_to_the_bit_and_replaces_the_first(run: Run, place: Path) -> None:
    (place / "out.png").write_bytes(b"earlier")
    assert run("a.onnx", "cat.jpg", "-o", "out.png")[0] == 0
    first = (place / "out.png").read_bytes()
    assert run("a.onnx", "cat.jpg", "-o", "out.png")[0] == 0
    assert (place / "out.png").read_bytes() == first


def test_maps_are_those_of_attribute_on_the_same_squares(place: Path) -> None:
    found = ox.explain(["a.onnx"], ["cat.jpg", "dog.png"], methods=["elrp", "smoothgrad"], options=ox.Options(samples=2))
    probes = ox.Probes("same", found.images)
    assert found.names == ("cat", "dog")
    assert found.options == {"samples": 2, "noise": 0.15}
    assert [(column.model, column.method, column.signed) for column in found.columns] == [
        ("a", "elrp", True),
        ("a", "smoothgrad", False),
    ]
    np.testing.assert_array_equal(found.columns[0].maps, ox.attribute("a.onnx", probes))
    for scaled in (column.scaled() for column in found.columns):
        np.testing.assert_allclose(np.sqrt(np.square(scaled).mean(axis=(1, 2))), 1, rtol=1e-6)


def test_encoders_configuration_and_baselines_reach_the_models(run: Run, place: Path) -> None:
    (place / "onnxspace.toml").write_text('[models.a]\nname = "first"\n')
    _, _, err = run("a.onnx", "b.onnx", "cat.jpg", "--encoder", "b=t1", "--baseline", "dog.png", "-o", "out.png")
    assert [line for line in err.splitlines() if "encoder" in line] == [
        "assumed for first: encoder t5 (narrowest bottleneck: 4 values per image)"
    ]


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 or err.startswith("Usage:")
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.onnx", "-o", "out.png"), ("at least one model", "at least one image")),
        (("cat.jpg", "-o", "out.png"), ("at least one model",)),
        (("a.onnx", "cat.jpg"), ("--output",)),
        (("a.onnx", "none.jpg", "-o", "out.png"), ("none.jpg: no such file",)),
        (("none.onnx", "cat.jpg", "-o", "out.png"), ("none.onnx",)),
        (("broken.onnx", "cat.jpg", "-o", "out.png"), ("broken.onnx",)),
        (("a.onnx", "broken.jpg", "-o", "out.png"), ("broken.jpg is not an image",)),
        (("a.onnx", "taken.png", "-o", "out.png"), ("taken.png is a folder. Give it as --probe taken.png",)),
        (
            ("a.onnx", "cat.jpg", "-o", "out.jpg"),
            ("out.jpg is not a name for a PNG picture, SVG picture or HTML page", ".svg or .html"),
        ),
        (("a.onnx", "dog.png", "-o", "dog.png"), ("dog.png is one of the files",)),
        (("a.onnx", "cat.jpg", "-o", "cat.jpg/out.png"), ("can't be",)),
        (("a.onnx", "cat.jpg", "-o", "taken.png"), ("something other than a file",)),
        (("a.onnx", "cat.jpg", "-o", "out.png", "--steps", "5"), ("--steps is not an option of elrp",)),
        (
            ("a.onnx", "cat.jpg", "-o", "out.png", "--baseline", "grey"),
            ("'grey' is not an image file. Give one, or one of zero, mean",),
        ),
        (("a.onnx", "cat.jpg", "-o", "out.png", "--method", "guess"), ("guess",)),
        (("a.onnx", *["cat.jpg"] * 33, "-o", "out.png"), ("33 images", "at most 32")),
    ],
)
def test_refused_in_a_sentence_and_nothing_is_left(run: Run, place: Path, arguments: tuple[str, ...], words: Any) -> None:
    (place / "broken.onnx").write_bytes(b"broken")
    (place / "broken.jpg").write_bytes(b"broken")
    (place / "taken.png").mkdir()
    refused(run(*arguments), *words)
    assert left(place) == {"broken.onnx", "broken.jpg", "taken.png"}


def test_a_photo_of_the_probe_folder_is_not_replaced(run: Run, place: Path) -> None:
    before = (place / "dog.png").read_bytes()
    refused(run("a.onnx", "--probe", ".", "-o", "dog.png"), "dog.png is one of the files")
    assert (place / "dog.png").read_bytes() == before


def test_python_refuses_an_empty_call(place: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to explain"):
        ox.explain(["a.onnx"], [])
    with pytest.raises(ConfigError, match="nothing to explain"):
        ox.explain(["a.onnx"], ["cat.jpg"], methods=[])


def test_a_defect_below_names_the_model(run: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: Any) -> None:
        raise IndexError("list index out of range\nsecond line")

    monkeypatch.setattr("onnxspace.workflows.child.explain.convert", stumble)
    refused(
        run("a.onnx", "cat.jpg", "--quiet", "-o", "out.png"),
        "a.onnx failed unexpectedly (IndexError: list index out of range).",
    )
    assert left(place) == set()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interrupted_drawing_leaves_the_earlier_picture(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(_figure: Figure, path: Path, **_options: Any) -> None:
        path.write_bytes(b"half")
        raise error

    (place / "out.png").write_bytes(b"earlier")
    monkeypatch.setattr(Figure, "savefig", stop)
    for target in ("out.png", "new/out.png"):
        code, _, err = run("a.onnx", "cat.jpg", "--quiet", "-o", target)
        assert code == {KeyboardInterrupt: 130, SystemExit: 143, OSError: 2}[type(error)]
        assert "Traceback" not in err
    assert left(place) == {"out.png"}
    assert (place / "out.png").read_bytes() == b"earlier"


def test_a_folder_that_takes_no_file_is_an_output_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_figure: Figure, path: Path, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OutputError, match=r"out\.png can't be written \(No space left on device\)"):
        ox.explain(["a.onnx"], ["cat.jpg"], output="out.png")


def test_a_zero_map_is_drawn_and_reported(run: Run, place: Path) -> None:
    """A network that answers to bright pixels only, and a black image."""
    net = Net((1, 3, 16, 16))
    x = net.add("Relu", net.add("Conv", "image", net.weight(np.ones((1, 3, 1, 1))), net.weight([-0.5])))
    save(net.model([net.conv(x, 1, 2, 16)]), place / "a.onnx")
    Image.new("RGB", (30, 30)).save(place / "dog.png")
    code, _, err = run("a.onnx", "dog.png", "--encoder", "t1", "-o", "out.png")
    assert code == 0
    assert "warning: a: by elrp, 1 of 1 map is zero." in err


def drawn(monkeypatch: pytest.MonkeyPatch, found: Explanation, path: Path) -> Figure:
    figures: list[Figure] = []
    genuine = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **options: Any) -> None:
        figures.append(figure)
        genuine(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    gallery.draw_explanation(found, path)
    return figures[0]


def ticks(axes: Any) -> list[Any]:
    """Labels of the ticks that are drawn: matplotlib keeps some outside of the limits."""
    low, high = axes.get_xlim()
    return [label for value, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True) if low <= value <= high]


def explanation(columns: int, images: int, name: str) -> Explanation:
    rng = np.random.default_rng(0)
    methods = list(METHODS)
    made = tuple(
        Column(name, methods[k], METHODS[methods[k]].signed, rng.standard_normal((images, 224, 224)).astype(np.float32))
        for k in range(columns)
    )
    pixels = rng.integers(0, 256, (images, 224, 224, 3), dtype=np.uint8)
    return Explanation((name,) * images, pixels, made, {"baseline": name, "steps": 50, "samples": 50, "noise": 0.15})


#: Columns, images and a name: each size with a short and a long name, each name once; all of both where all cases are run.
NAMES = {"short": "a", "formula": "$W_" * 40 + "é", "long": "W" * 300, "control": "x\n\x1b[31m\u202ey"}
PAIRED = {(1, 1): ("short", "long"), (4, 3): ("formula", "control")}
PICTURES = [
    pytest.param(*size, NAMES[name], id=f"{size[0]}-{name}", marks=[] if name in PAIRED[size] else [pytest.mark.exhaustive])
    for size in PAIRED
    for name in NAMES
]


@pytest.mark.parametrize(("columns", "images", "name"), PICTURES)
def test_words_stay_inside_the_picture_and_off_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, images: int, name: str
) -> None:
    figure = drawn(monkeypatch, explanation(columns, images, name), tmp_path / "out.png")
    words = [axes.xaxis.label for axes in figure.axes] + [tick for axes in figure.axes for tick in ticks(axes)] + figure.texts
    boxes = [text.get_window_extent() for text in words if text.get_text()]
    width, height = size(tmp_path / "out.png")
    assert len(boxes) > 6
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
    cells = [axes.get_window_extent() for axes in figure.axes]
    for first, second in combinations([*boxes, *cells], 2):
        apart = first.x1 <= second.x0 + 1 or second.x1 <= first.x0 + 1 or first.y1 <= second.y0 + 1 or second.y1 <= first.y0 + 1
        assert apart, (first, second)


def test_colours_are_centred_at_zero_and_end_at_the_percentile() -> None:
    found = explanation(2, 1, "a")
    signed, unsigned = gallery.find_scales(found.columns, [column.scaled() for column in found.columns]).values()
    assert signed.colours.get_clim() == (-signed.limit, signed.limit)
    assert signed.limit == pytest.approx(2.576, rel=0.02)  # of a standard normal
    assert unsigned.colours.get_clim()[0] == 0
    assert min(signed.colours.to_rgba(0.0)[:3]) > 0.95  # white
    zero = Column("a", "elrp", True, np.zeros((1, 4, 4), np.float32))
    assert gallery.find_scales([zero], [zero.scaled()])[True].limit == 1


def test_names_are_shortened_in_the_middle() -> None:
    assert shorten("resnet50") == "resnet50"
    assert shorten("a" * 20 + "b" * 20, 11) == "aaaa…bbbbbb"
    assert len(shorten("x" * 100)) == 28
    assert make_printable("x\n\x1b[31m\u202ey") == "x ?[31m?y"


def test_methods_of_the_same_rules_share_one_backward_pass(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods, pictures = ("saliency", "elrp", "gradient-x-input"), ["cat.jpg", "dog.png"]
    apart = [ox.explain(["a.onnx"], pictures, methods=[method]).columns[0].maps for method in methods]
    passed, genuine = [], DifferentiableGraph.gradient
    monkeypatch.setattr(
        DifferentiableGraph, "gradient", lambda self, values, weights: passed.append(1) or genuine(self, values, weights)
    )
    together = ox.explain(["a.onnx"], pictures, methods=methods)
    assert len(passed) == 2
    for column, maps in zip(together.columns, apart, strict=True):
        np.testing.assert_array_equal(column.maps, maps)
