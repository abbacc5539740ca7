"""Options on what is explained: `explain`, `score` and `check` on small classifiers with named classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import onnxspace as ox
from onnxspace.errors import ConfigError
from onnxspace.inputs.targets import Target, make_targets
from onnxspace.report.explanation import Column, Explanation
from tests.helpers.asknets import Segmenter, enlarge, export
from tests.helpers.commands import Run
from tests.helpers.nets import classifier, save
from tests.helpers.sentences import Cli

COMMAND = "explain"


def named(seed: int, names: str, units: int = 4) -> onnx.ModelProto:
    proto = classifier(seed=seed, units=units)
    onnx.helper.set_model_props(proto, {"names": names})
    return proto


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classifiers, whose classes have one set of names in another order, and two photos."""
    monkeypatch.chdir(tmp_path)
    save(named(0, '["cat", "dog", "cow"]'), tmp_path / "a.onnx")
    save(named(1, '["cow", "cat", "dog"]'), tmp_path / "b.onnx")
    for seed, name in enumerate(("one.png", "two.png")):
        noise = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((300, 200)).save(tmp_path / name)
    return tmp_path


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_a_column_for_each_class_rank_and_value(run: Run, place: Path) -> None:
    code, out, err = run(
        "a.onnx", "one.png", "--class", "dog", "--top", "2", "--output", "t6[0,1]", "--method", "grad-cam", "-o", "many.png"
    )
    assert (code, out) == (0, "")
    assert "note: a: maps are computed at t3, 16 × 16 positions, and resized (bilinear)" in err
    assert "encoder" not in err
    assert run("a.onnx", "one.png", "--class", "dog", "--quiet", "-o", "one-column.png") == (0, "", "")
    assert size("many.png")[0] > 2 * size("one-column.png")[0]
    assert size("many.png")[1] == pytest.approx(size("one-column.png")[1], abs=2)


def test_columns_have_words_and_captions(place: Path) -> None:
    targets = make_targets(["dog"], top=1)
    found = ox.explain(["a.onnx", "b.onnx"], ["one.png", "two.png"], methods=["gradient-x-input"], targets=targets)
    assert [(one.model, one.target) for one in found.columns] == [
        ("a", "class dog"), ("a", "most probable class"), ("b", "class dog"), ("b", "most probable class"),
    ]  # fmt: skip
    assert all(caption.startswith("dog, ") and caption.endswith(" %") for caption in found.columns[0].captions)
    probes = ox.Probes("same", found.images)
    np.testing.assert_array_equal(found.columns[0].maps, ox.attribute("a.onnx", probes, "gradient-x-input", target=1))
    np.testing.assert_array_equal(found.columns[2].maps, ox.attribute("b.onnx", probes, "gradient-x-input", target="dog"))
    html = found._repr_html_()
    assert "gradient-x-input: class dog" in html
    assert found.columns[1].captions[0] in html


def test_a_method_without_targets_has_one_column_beside_others(place: Path) -> None:
    targets = make_targets(["dog", "cat"])
    found = ox.explain(["a.onnx"], ["one.png"], methods=["unit-saliency", "saliency"], targets=targets)
    assert [(one.method, one.target) for one in found.columns] == [
        ("unit-saliency", ""), ("saliency", "class dog"), ("saliency", "class cat"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="unit-saliency does not explain class dog"):
        ox.explain(["a.onnx"], ["one.png"], methods=["unit-saliency"], targets=targets)


def test_a_mask_and_a_rectangle_are_regions_of_a_dense_output(run: Run, place: Path) -> None:
    export(enlarge(Segmenter()), place / "dense.onnx", ["sky", "sea", "sand", "tree", "boat"])
    Image.new("L", (224, 224)).save("black.png")
    mask = np.zeros((224, 224), np.uint8)
    mask[56:112, 28:84] = 255
    Image.fromarray(mask).save("mask.png")
    first, second = (
        ox.explain(["dense.onnx"], ["one.png"], methods=["saliency"], targets=make_targets(region=region), pixels="unit")
        for region in ("28,56,56,56", "mask.png")
    )
    np.testing.assert_array_equal(first.columns[0].maps, second.columns[0].maps)
    assert first.columns[0].captions[0].split(",")[0] in ("sky", "sea", "sand", "tree", "boat")
    assert run("dense.onnx", "one.png", "--region", "black.png", "-o", "out.png")[0] == 2
    assert not (place / "out.png").exists()


def test_svg_holds_its_images_and_is_equal_to_the_bit_when_drawn_again(run: Run, place: Path) -> None:
    for name in ("first.svg", "second.svg"):
        assert run("a.onnx", "one.png", "--class", "dog", "--overlay", "--quiet", "-o", name) == (0, "", "")
    text = Path("first.svg").read_text("utf-8")
    assert text.count("data:image/png;base64,") >= 2
    assert text.replace("data:image/png;base64,", "").count('href="http') == 0
    assert text == Path("second.svg").read_text("utf-8")


def test_an_overlay_shows_the_image_where_the_map_is_zero() -> None:
    from onnxspace.report.gallery import find_scales

    maps = np.zeros((1, 8, 8), np.float32)
    maps[0, 0, 0] = 1
    for signed in (True, False):
        column = Column("a", "elrp", signed, maps)
        kind = find_scales([column], [column.scaled()])[signed]
        image = np.full((8, 8, 3), 100, np.uint8)
        drawn = kind.paint(column.scaled()[0], image)
        assert (drawn[1:, 1:] == np.rint(0.75 * 100 + 255 * 0.25)).all()
        assert np.abs(drawn[0, 0].astype(int) - drawn[1, 1]).max() > 30
        assert (kind.paint(column.scaled()[0], None)[1, 1] == (247 if signed else 0)).any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--class", "dgo"), "a.onnx has no class 'dgo' among its 3: did you mean dog?"),
        (("--class", "7"), "has no class '7' among its 3"),
        (("--value", "logits[0]"), "has no output 'logits'"),
        (("--value", "t6[0,3]"), "t6 is [1, 3] for one image, and [0,3] is outside of it"),
        (("--value", "t6[x]"), "[x] is not an index"),
        (("--region", "1,2,3,4"), "has no output with a value per pixel"),
        (("--box", "1,2,3,4"), "has no boxes in a form that is understood"),
        (("--class", "dog", "--method", "attention-rollout"), "attention-rollout does not explain class dog"),
        (("--method", "attention-rollout"), "has no attention, a Softmax over keys"),
        (("--top", "4"), "fewer than --top 4"),
        (("--contrast",), "Give --class or --top"),
    ],
)
def test_what_can_not_be_explained_is_said_in_a_sentence(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("a.onnx", "one.png", *arguments, "--quiet", "-o", "out.png")
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert not (place / "out.png").exists()


def test_captions_and_targets_stay_inside_the_picture(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli.test_explain import drawn

    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 224, 224)).astype(np.float32)
    columns = (Column("a" * 50, "gradient-x-input", True, maps, "class " + "W" * 90, ("W" * 80, "$x_")),) * 2
    found = Explanation(("one", "two"), rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8), columns)
    figure = drawn(monkeypatch, found, place / "out.png")
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    cells = [axes.get_window_extent() for axes in figure.axes]
    width, height = size("out.png")
    for k, box in enumerate(boxes):
        assert 0 <= box.x0 <= box.x1 <= width
        assert 0 <= box.y0 <= box.y1 <= height
        for other in (*boxes[:k], *cells):
            assert box.x1 <= other.x0 + 1 or other.x1 <= box.x0 + 1 or box.y1 <= other.y0 + 1 or other.y1 <= box.y0 + 1


def test_models_are_scored_by_what_they_look_at_for_a_class(place: Path) -> None:
    probes = ox.Probes.generate(6, 16)
    found = ox.score(["a.onnx", "b.onnx"], probes, method="gradient-x-input", explained="dog")
    one, other = (ox.attribute(path, probes, "gradient-x-input", target="dog").reshape(6, -1) for path in ("a.onnx", "b.onnx"))
    cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert found.matrix[0, 1] == pytest.approx(cosines.mean(), abs=2e-3)
    assert found.to_dict()["options"] == {"target": "class dog"}
    assert found.matrix[0, 1] != pytest.approx(
        ox.score(["a.onnx", "b.onnx"], probes, method="gradient-x-input").matrix[0, 1], abs=1e-3
    )


def test_a_run_of_another_class_is_not_resumed(place: Path) -> None:
    from onnxspace.attribution.cache_key import run_key
    from onnxspace.inputs.execution import Execution
    from onnxspace.inputs.protocol import Setup

    probes = ox.Probes.generate(2, 16)
    setups = [Setup(probes), *(Setup(probes, target=Target(word=word)) for word in ("dog", "cat"))]
    assert len({run_key(setup, Execution()) for setup in setups}) == 3


@pytest.mark.parametrize("given", [{}, {"by": ["cka"]}])
def test_score_refuses_targets_that_change_nothing(place: Path, given: dict[str, Any]) -> None:
    from onnxspace.workflows.fingerprint_file import fingerprint_file

    if given:
        with pytest.raises(ConfigError, match=r"cka compares no maps, so class dog changes nothing\. Add --by attribution"):
            ox.score(["a.onnx", "b.onnx"], ox.Probes.generate(6, 16), explained="dog", **given)
        return
    fingerprint_file("a.onnx", "a.fp", ox.Probes.generate(6, 16))
    with pytest.raises(ConfigError, match=r"a\.fp holds maps of an encoder, not of class dog"):
        ox.score(["a.fp", "b.onnx"], explained="dog")


def test_a_model_without_the_class_is_a_failure_of_its_own(place: Path) -> None:
    save(named(2, '["x", "y", "z"]'), place / "c.onnx")
    found = ox.score(["a.onnx", "b.onnx", "c.onnx"], ox.Probes.generate(4, 16), explained="dog")
    assert found.names == ("a", "b")
    assert [one.error for one in found.failed] == ["c.onnx has no class 'dog' among its 3: there are x, y, z."]


def test_score_says_whose_maps_are_compared(cli: Cli, place: Path) -> None:
    found = cli("score", "a.onnx", "b.onnx", "--class", "dog", "--images", "4", "--json", "--quiet")
    assert found.code == 0
    assert json.loads(found.out)["options"] == {"target": "class dog"}
    refused = cli("score", "a.onnx", "b.onnx", "--class", "dog", "--class", "cat", "--quiet")
    assert refused.code == 2
    assert "maps of one target, not of class dog and class cat" in refused.err


def test_check_compares_maps_of_a_class(cli: Cli, place: Path) -> None:
    """The weights of one class become those of another, above an encoder that stays the same."""
    proto = named(0, '["cat", "dog", "cow"]')
    for tensor in proto.graph.initializer:
        if tensor.dims == [3, 4]:
            rows = onnx.numpy_helper.to_array(tensor).copy()
            rows[1] = rows[2]
            tensor.CopyFrom(onnx.numpy_helper.from_array(rows, tensor.name))
    save(proto, place / "swapped.onnx")
    for word, same in (("cat", True), ("dog", False)):
        found = cli("check", "swapped.onnx", "--against", "a.onnx", "--class", word, "--images", "4", "--json", "--quiet")
        assert (read_affinity(found.out) > 0.999) is same
        assert "between image and encoder" not in found.out
    (place / "onnxspace.toml").write_text(
        '[check]\nclass = "dog"\nimages = 4\n[check.artifacts.net]\nmodel = "swapped.onnx"\nagainst = "a.onnx"\n'
    )
    assert read_affinity(cli("check", "--json", "--quiet").out) < 0.999
    (place / "onnxspace.toml").unlink()


def test_a_baseline_holds_maps_of_a_class(cli: Cli, place: Path) -> None:
    """Its class is taken where none is named, and another one is refused."""
    asked = ("--class", "dog", "--images", "4", "--quiet")
    assert cli("check", "a.onnx", "--against", "a.fp", "--update", *asked).code == 0
    for given in (asked, ("--quiet",)):
        found = cli("check", "b.onnx", "--against", "a.fp", "--json", *given)
        assert read_affinity(found.out) == pytest.approx(
            ox.score(["a.onnx", "b.onnx"], ox.Probes.generate(4), explained="dog").matrix[0, 1], abs=0.1
        )
    refused = cli("check", "a.onnx", "--against", "a.fp", "--class", "cat", "--quiet")
    assert refused.code == 2
    assert "a.fp holds maps of class dog, not of class cat. Compare with a model file" in refused.out + refused.err


def test_spaces_and_fingerprints_hold_maps_of_a_class(cli: Cli, place: Path) -> None:
    assert cli("space", "create", "a.space", "--class", "0", "--images", "4", "--quiet").code == 0
    assert cli("space", "add", "a.space", "a.onnx", "--quiet").code == 0
    assert cli("space", "list", "a.space").out.startswith("elrp of class 0 on 4 images")
    assert json.loads(cli("space", "list", "a.space", "--json").out)["options"] == {"target": "class 0"}
    assert cli("fingerprint", "b.onnx", "-o", "a.fp", "--class", "0", "--images", "4", "--quiet").code == 0
    assert cli("space", "add", "a.space", "a.fp", "--quiet").code == 0
    refused = cli("fingerprint", "b.onnx", "-o", "b.fp", "--class", "0", "--space", "a.space")
    assert refused.code == 2
    assert not Path("b.fp").exists()


def read_affinity(out: str) -> float:
    (found,) = json.loads(out)["verdicts"]
    return float(found["measures"]["affinity"])
