"""Pages: what they hold, that they need nothing else, and that no name gets the better of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.cluster.hierarchy import leaves_list
from scipy.spatial.distance import pdist

from onnxspace.report.data_uri import limit_of, palette, to_colours, to_grey
from onnxspace.report.embedding import embed_in_plane
from onnxspace.report.result_folder import write_results
from onnxspace.report.thumbnails import BUDGET, SIDES, make_gallery, spread_evenly
from onnxspace.similarity.certainty import estimate_certainty
from onnxspace.similarity.per_image import read_one_target
from onnxspace.workflows.report import write_report
from tests.helpers.pages import HOSTILE, NAMES, Page, decoded, maps, page_of, result
from tests.helpers.spaces import insert, space

# ---- what it shows


def test_its_numbers_are_the_results(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES)
    data = page_of(tmp_path / "out", target="model-3").data
    assert data["names"] == list(NAMES)
    assert data["target"] == 3
    np.testing.assert_allclose(data["matrix"], found.matrix, atol=5.1e-7)
    for name, ranked in zip(NAMES, data["ranks"], strict=True):
        assert [NAMES[i] for i in ranked] == [source for source, _ in found.rank(name).sources]
    assert data["order"] == leaves_list(found.tree()).tolist()


def test_its_intervals_are_those_of_the_bootstrap(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES)
    data = page_of(tmp_path / "out").data
    files = [tmp_path / "out/maps" / f"{model.sha256[:12]}.npy" for model in found.models]
    known = estimate_certainty(found.rank("model-2"), NAMES, read_one_target(2, files, lambda i: np.load(files[i])))
    assert data["sure"]["2"]["settled"] == known.settled
    assert data["brackets"][2] == list(known.brackets)
    assert known.brackets[0] == 1
    for one in known.sources:
        low, high, ahead = data["sure"]["2"]["rows"][str(NAMES.index(one.source))]
        assert (low, high) == pytest.approx((one.low, one.high), abs=1e-4)
        assert ahead == (None if one.ahead is None else pytest.approx(one.ahead, abs=1e-4))


def test_intervals_of_a_result_that_has_them_are_taken(tmp_path: Path) -> None:
    result(tmp_path / "out", NAMES)
    told = json.loads((tmp_path / "out/score.json").read_text("utf-8"))
    rows = [{"source": name, "low": 0.25, "high": 0.5, "ahead": 0.75} for name in NAMES[1:]]
    told["certainty"] = {"model-0": {"sources": rows, "settled": 3, "images": 4, "resamples": 10, "level": 0.95}}
    (tmp_path / "out/score.json").write_text(json.dumps(told), "utf-8")
    data = page_of(tmp_path / "out").data
    assert set(data["sure"]) == {"0"}
    assert data["sure"]["0"]["rows"]["1"] == [0.25, 0.5, 0.75]


def test_a_space_and_its_certainty(tmp_path: Path) -> None:
    opened = space(tmp_path / "zoo.space")
    for number in range(4):
        insert(tmp_path / "zoo.space", number)
    page = page_of(tmp_path / "zoo.space", target="model-1")
    known = opened.certainty("model-1")
    rows = page.data["sure"]["1"]["rows"]
    for one in known.sources:
        assert rows[one.source[-1]][:2] == pytest.approx([one.low, one.high], abs=1e-4)
    text = " ".join(page.content[""])
    for said in ("noise-0", "elrp", opened.protocol.sha256, "whole maps", "Model space zoo.space", "onnxspace 0."):
        assert said in text


def test_fingerprints_have_errors_and_no_gallery(tmp_path: Path) -> None:
    space(tmp_path / "zoo.space", keep_maps=False)
    for number in range(3):
        insert(tmp_path / "zoo.space", number, whole=False)
    goal = tmp_path / "page.html"
    notes = write_report(tmp_path / "zoo.space", goal)
    page = Page(goal.read_text("utf-8"))
    assert any("no gallery" in note for note in notes)
    assert page.data["gallery"] is None
    assert all(page.data["errors"][i][j] > 0 for i in range(3) for j in range(3) if i != j)


def test_tables_are_complete_without_the_script(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES, warnings=("model-0: look out.",))
    page = page_of(tmp_path / "out", target="model-5")
    text = page.content[""]
    first = text.index("Ahead of the next") + 1
    ranked = found.rank("model-5").sources
    assert [word for word in text[first:] if word in NAMES][: len(ranked)] == [name for name, _ in ranked]
    for said in ("model-0: look out.", "x.onnx is broken.", "assumed: a guess", "zoo/3.onnx", "torch 2.6"):
        assert said in text


def test_an_oracle_adds_curves(tmp_path: Path) -> None:
    found = result(tmp_path / "out", NAMES)
    (tmp_path / "oracle.csv").write_text(found.to_csv(), "utf-8")
    data = page_of(tmp_path / "out", oracle=tmp_path / "oracle.csv").data["evaluation"]
    assert data["precision"]["mean"] == data["precision"]["best"] == pytest.approx([1, 1, 1, 1, 1, 5 / 6])
    assert data["recall"]["mean"] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert data["precision"]["random"] == pytest.approx([5 / 6] * 6, abs=1e-6)


def test_one_model_and_pairs_without_a_number(tmp_path: Path) -> None:
    result(tmp_path / "one", ("only",))
    page = page_of(tmp_path / "one")
    assert (page.data["tree"], page.data["plane"], page.data["ranks"]) == (None, None, [[]])
    assert {"target", "ranking"}.isdisjoint(given.get("id") for _, given in page.elements)
    found = result(tmp_path / "holes", NAMES)
    matrix = found.matrix.copy()
    matrix[0, 1] = matrix[1, 0] = np.nan
    by = replace(found, matrix=matrix, by="cka", scores={"cka": matrix})
    write_results(tmp_path / "holes", by)
    data = page_of(tmp_path / "holes").data
    assert (data["by"], data["tree"], data["plane"], data["matrix"][0][1], data["sure"]) == ("cka", None, None, None, {})
    assert 1 not in data["ranks"][0]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    result(tmp_path / "out", NAMES)
    for name in ("a.html", "b.html"):
        write_report(tmp_path / "out", tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


# ---- pictures and the plane


def test_tiles_are_the_maps_in_grey(tmp_path: Path) -> None:
    """Against Pillow's own averages of blocks, taken by hand; a lossy picture may be off by a few levels."""
    smooth = np.add.outer(np.sin(np.arange(64) / 9), np.cos(np.arange(64) / 7)).astype(np.float32)
    values = np.stack([smooth, 0 * smooth]).reshape(2, -1)
    path = tmp_path / "maps.npy"
    np.save(path, (values / np.linalg.norm(values[0])).astype(np.float16))
    found = make_gallery([None, path], None, 2, signed=True)
    assert found is not None
    assert (found.images, found.models, found.side, found.pictures) == ((0, 1), (1,), 64, None)
    scaled = smooth / np.sqrt(np.square(smooth).mean())
    limit = np.percentile(np.abs(np.stack([scaled, 0 * scaled])), 99)
    assert found.limit == pytest.approx(limit, rel=1e-3)
    expected = 127.5 + 127.5 * np.clip(scaled / limit, -1, 1)
    assert np.abs(decoded(found.tiles[0][0])[..., 0] - expected).mean() < 4
    assert np.abs(decoded(found.tiles[0][1])[..., 0].astype(int) - 128).max() <= 1
    assert found.cosines[:, 0, 0].tolist() == [pytest.approx(1), 0]


def test_cosines_of_the_gallery_are_those_of_the_maps(tmp_path: Path) -> None:
    values = maps(4, 5, 24)
    paths = [tmp_path / f"{i}.npy" for i in range(4)]
    for path, one in zip(paths, values, strict=True):
        np.save(path, one)
    found = make_gallery(paths, None, 2, signed=True)
    assert found is not None
    for place, image in enumerate(found.images):
        rows = np.stack([one[image].astype(np.float64) for one in values])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(found.cosines[place], rows @ rows.T, atol=1e-5)


def test_pictures_shrink_until_they_fit_and_models_are_left_out_last(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).standard_normal((2, 96 * 96), dtype=np.float32)
    paths = []
    for i in range(6):
        paths.append(tmp_path / f"{i}.npy")
        np.save(paths[-1], np.roll(noise, i, axis=1).astype(np.float16))
    sizes = {}
    for budget in (10**6, 60_000, 8_000):
        found = make_gallery(paths, None, 2, signed=True, budget=budget)
        assert found is not None
        assert sum(len(tile) for row in found.tiles for tile in row) <= budget
        sizes[budget] = (found.side, len(found.models))
    assert sizes[10**6] == (96, 6)
    assert sizes[60_000][0] < 96
    assert sizes[8_000][0] == min(SIDES)
    assert sizes[8_000][1] < 6


@pytest.mark.exhaustive
def test_fifty_models_of_noise_stay_under_eight_megabytes(tmp_path: Path) -> None:
    """Noise is what compresses worst."""
    result(tmp_path / "out", tuple(f"family-{i % 7}/network-number-{i}" for i in range(50)), images=6, size=224)
    page = page_of(tmp_path / "out")
    assert (tmp_path / "page.html").stat().st_size < 8_000_000
    assert len(page.data["gallery"]["models"]) == 50
    assert sum(len(given["src"] or "") for tag, given in page.elements if tag == "img") < 1.2 * BUDGET


@given(st.integers(1, 200), st.integers(1, 64))
def test_images_are_spread_evenly(total: int, count: int) -> None:
    found = spread_evenly(total, count)
    assert len(found) == len(set(found)) == min(total, count)
    assert found == sorted(found)
    assert all(0 <= image < total for image in found)
    assert max(np.diff(found), default=1) <= total // len(found) + 1


@settings(max_examples=50)
@given(arrays(np.float64, st.tuples(st.integers(2, 7), st.just(5)), elements=st.floats(-1, 1).map(lambda v: round(v, 3))))
def test_the_plane_is_that_of_the_principal_components(points: Any) -> None:
    """Unit vectors' own principal components, by a singular value decomposition."""
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    rows = np.where(lengths > 0, points, 1.0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = embed_in_plane(rows @ rows.T)
    left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    total = np.square(values).sum()
    assert found.share == pytest.approx(np.square(values[:2]).sum() / total if total > 1e-12 else 1.0, abs=1e-6)
    own, drawn = pdist(rows), pdist(found.points)
    expected = np.sqrt(np.square(own - drawn).sum() / np.square(own).sum()) if own.max() > 1e-6 else 0.0
    assert found.stress == pytest.approx(expected, abs=1e-5)
    if len(values) == 2 or values[1] - values[2] > 1e-3:  # otherwise the second direction is anyone's
        np.testing.assert_allclose(pdist(found.points), pdist(left[:, :2] * values[:2]), atol=1e-6)


def test_colours_are_those_of_explain() -> None:
    from matplotlib import colormaps

    values = np.linspace(-3, 3, 41)
    for signed, name in ((True, "RdBu_r"), (False, "magma")):
        share = (values / 2).clip(-1, 1) / 2 + 0.5 if signed else (values / 2).clip(0, 1)
        np.testing.assert_allclose(to_colours(values, 2.0, signed=signed), 255 * colormaps[name](share)[:, :3], atol=4)
    assert to_grey(np.array([-9, -2, 0, 2, 9]), 2.0, signed=True).tolist() == [0, 0, 128, 255, 255]
    assert to_grey(np.array([-9, 0, 1, 2]), 2.0, signed=False).tolist() == [0, 0, 128, 255]
    assert limit_of(np.zeros((2, 3))) == 1.0
    assert palette(True, 33).shape == (33, 3)


# ---- self-contained, and proof against names


# ---- bad input, and files that are whole


# ---- notebooks


def test_rankings_and_maps_show_themselves() -> None:
    from onnxspace.report.explanation import Column, Explanation
    from onnxspace.similarity.ranking import Ranking

    shown = Page(Ranking(HOSTILE[1], ((HOSTILE[0], 0.25), ("b", -0.5)))._repr_html_())
    assert set(shown.tags) == {"table", "caption", "tr", "td", "th", "p"}
    assert {HOSTILE[0], "b", "0.250", "-0.500"} <= set(shown.content[""])
    values = np.random.default_rng(0).standard_normal((2, 16, 16)).astype(np.float32)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    found = Explanation(
        ("x.png", HOSTILE[1]), images, (Column(HOSTILE[0], "elrp", True, values), Column("m", "saliency", False, abs(values)))
    )
    page = Page(found._repr_html_())
    assert set(page.tags) == {"table", "tr", "th", "br", "td", "img"}
    assert page.tags.count("img") == 6
    colours = decoded(next(given["src"] or "" for tag, given in page.elements[8:] if tag == "img"))
    assert colours.shape == (16, 16, 3)
