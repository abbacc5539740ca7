"""The page of `explain`: what it holds, that it asks for nothing, and what is left out of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from onnxspace.evaluation.faithfulness.table import FaithfulnessRow, FaithfulnessTable
from onnxspace.report import map_page
from onnxspace.report.explanation import Column, Explanation
from onnxspace.report.map_page import render_map_page
from tests.helpers.commands import Run
from tests.helpers.nets import classifier, save
from tests.helpers.pages import HOSTILE, Page

COMMAND = "explain"


def explain(names: tuple[str, ...], target: str = "class 1") -> Explanation:
    draw = np.random.default_rng(0)
    shape = (len(names), 32, 32)
    columns = [
        Column(model, method, signed, draw.normal(size=shape).astype(np.float32), words, (words,) * len(names))
        for model in ("one", names[0])
        for method, signed, words in (("elrp", True, target), ("saliency", False, target), ("attention-rollout", False, ""))
    ]
    pixels = draw.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return Explanation(names, pixels, tuple(columns), {"baseline": names[0]}, warnings=(names[-1],))


def data_of(text: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found is not None
    return dict(json.loads(found[1]))


def test_every_map_of_every_image_is_there_and_chosen_by_words() -> None:
    data = data_of(render_map_page(explain(("a", "b", "c"))))
    columns = data["columns"]
    assert isinstance(columns, list)
    assert [column["words"] for column in columns] == [[0, 0, 0], [0, 1, 0], [0, 2, 1], [1, 0, 0], [1, 1, 0], [1, 2, 1]]
    assert [len(column["maps"]) for column in columns] == [3] * 6
    assert len({uri for column in columns for uri in column["maps"]}) == 18
    assert data["names"] == ["a", "b", "c"]


def test_hostile_names_change_nothing_but_the_text() -> None:
    calm = Page(render_map_page(explain(tuple(f"n{k}" for k in range(len(HOSTILE))))))
    wild = Page(render_map_page(explain(tuple(HOSTILE), HOSTILE[1])))
    assert wild.tags == calm.tags
    assert wild.policy() == calm.policy()
    assert calm.policy()["default-src"] == ["'none'"]
    assert not {name for _, given in wild.elements for name in given if name.startswith("on") or name == "style"}
    assert all(re.match(r"data:(image/webp;base64,|,$)|#", address) for address in wild.addresses())


def test_images_that_make_it_too_large_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explain(("a", "b", "c", "d"))
    whole = render_map_page(found)
    monkeypatch.setattr(map_page, "BUDGET", len(whole) // 3)
    page = render_map_page(found)
    kept = data_of(page)["names"]
    assert isinstance(kept, list)
    assert 0 < len(kept) < 4
    assert f"{4 - len(kept)} more are left out" in page
    assert page.count('type="radio"') == len(kept)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model and a folder of photos."""
    monkeypatch.chdir(tmp_path)
    save(classifier(), tmp_path / "a.onnx")
    (tmp_path / "photos").mkdir()
    for seed in range(70):
        noise = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"photos/{seed:02}.png")
    return tmp_path


def test_a_folder_becomes_a_page_of_at_most_64_images(run: Run, place: Path) -> None:
    code, out, err = run("a.onnx", "--probe", "photos", "--method", "elrp", "--method", "saliency", "-o", "p.html")
    assert (code, out) == (0, "")
    assert "64 of the 70 photos in photos are shown" in err
    names = data_of((place / "p.html").read_text("utf-8"))["names"]
    assert isinstance(names, list)
    assert (len(names), names[0], names[-1]) == (64, "00", "69")


def test_a_folder_fills_a_picture_with_what_there_is_room_for(run: Run, place: Path) -> None:
    code, _, err = run("a.onnx", "--probe", "photos", "photos/00.png", "-o", "p.png")
    assert code == 0
    assert "31 of the 70 photos" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-o", "p.html"), "a folder by --probe"),
        (("--probe", "none", "-o", "p.html"), "none does not exist"),
        (("--probe", "photos", "--faithfulness", "--animate", "a.gif"), "--animate"),
    ],
)
def test_what_can_not_be_shown_is_refused(run: Run, place: Path, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = run("a.onnx", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not (place / "p.html").exists()


def test_figures_of_methods_stand_beside_their_maps() -> None:
    rows = (FaithfulnessRow("elrp", False, (".250±.050*", "–")), FaithfulnessRow("random map", True, (".5", "1")))
    table = FaithfulnessTable(HOSTILE[0], "class 1", "its probability", ("deletion ↓", "randomised"), rows, HOSTILE[:1])
    text = render_map_page(replace(explain(("a",)), faithfulness=(table,)))
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", text[text.index("Are the maps any good?") :])
    assert cells == ["method", "deletion ↓", "randomised", "elrp", ".250±.050*", "–", "random map", ".5", "1"]
    assert HOSTILE[0] not in text
    assert "Are the maps any good?" not in render_map_page(explain(("a",)))
