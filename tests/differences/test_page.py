"""The page of a comparison: its numbers are those of the JSON, it needs nothing else, and no name gets the better of it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxspace as ox
from onnxspace.differences.page.content import MOST_ROWS, limit_rows, make_content
from onnxspace.differences.page.pictures import PagePictures, choose_images
from onnxspace.differences.page.rows import DEPARTS, EQUAL, GraphRow, list_rows
from onnxspace.differences.page.tree import MOST_CHILDREN, Fold, fold_rows
from onnxspace.differences.page.weights import describe_weights
from onnxspace.differences.page.write import write_page
from onnxspace.differences.result import COLUMNS, STATUSES, ModelDiff
from onnxspace.errors import ConfigError, OutputError
from tests.differences.conftest import Compare
from tests.helpers import diff_pairs as pairs
from tests.helpers.diff_pages import make_diff, page_of_diff
from tests.helpers.pages import HOSTILE

WILD = (*HOSTILE, "x" * 10_000, "</script><script>alert(1)</script>", "a\x00b", "\u202eab", "\ud800", "=cmd()")


def flatten(kids: Any) -> list[int]:
    return list(chain.from_iterable([kid] if isinstance(kid, int) else flatten(kid[1:]) for kid in kids))


def check_numbers(found: ModelDiff, data: dict[str, Any]) -> None:
    """Every number of the JSON is on the page."""
    whole, words = found.to_dict(), list(STATUSES)
    assert flatten(data["tree"]) == list(range(len(whole["groups"])))
    for layer, row in zip(whole["layers"], data["layers"], strict=True):
        expected = [words.index(layer[name]) if name == "status" else layer[name] for name in COLUMNS]
        assert row[1:] == [list(value) if isinstance(value, tuple) else value for value in expected]
        assert layer["place"] in data["rows"][row[0]][4]
    assert found.details is not None
    for row, facts in zip(list_rows(found, found.details), data["rows"], strict=True):
        group = whole["groups"][row.group]
        assert (words[facts[0]], facts[5], facts[6]) == (group["status"], group["error"], group["own_error"])
        for side, name in ((0, "old"), (1, "new")):
            assert [data["nodes"][side][place][0] for place in facts[3 + side]] == [node["name"] for node in group[name]]


def test_its_numbers_are_those_of_the_json(compare: Compare, tmp_path: Path) -> None:
    found = compare(pairs.base(), pairs.train(pairs.base()))
    page = page_of_diff(found, tmp_path)
    check_numbers(found, page.data)
    text = page.content[""]
    for said in (found.summary, *(change.text for change in found.changes)):
        assert said in text
    counts = found.counts
    for status in ("equal", "departs", "downstream"):
        place = text.index(status)
        assert text[place + 1 : place + 3] == [str(counts[side][status]) for side in ("old", "new")]


@pytest.mark.parametrize("change", [pairs.fold, lambda model: pairs.remove(model, "/5/act/Relu"), pairs.to_nhwc])
def test_every_node_is_on_one_row(compare: Compare, change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    found = compare(pairs.base(), change(pairs.base()))
    assert found.details is not None
    content = make_content(found, found.details)
    for side in range(2):
        placed = sorted(chain.from_iterable(row[3 + side] for row in content.data["rows"]))
        assert placed == list(range((found.old, found.new)[side].nodes))
        assert all(node is not None for node in content.data["nodes"][side])


def test_details_are_those_of_the_graph(compare: Compare) -> None:
    model = pairs.base()
    found = compare(model, pairs.train(model))
    assert found.details is not None
    for node, known in zip(model.graph.node, found.details.old, strict=True):
        assert {name for name, _ in known.attributes} == {one.name for one in node.attribute}
        producers = {i for i, other in enumerate(model.graph.node) if set(other.output) & set(node.input)}
        assert set(known.reads) <= producers
    errors = [error for error in found.details.image_errors if error is not None]
    assert len(errors) == 2
    assert found.outputs[0].relative_error is not None
    assert min(errors) <= found.outputs[0].relative_error <= max(errors)


def test_it_asks_for_nothing_and_runs_its_own_scripts_only(tmp_path: Path) -> None:
    page = page_of_diff(make_diff(300), tmp_path)
    assert all(re.match(r"data:(image/webp;base64,|,$)|#[a-z]+$", address) for address in page.addresses())
    style = "".join(page.content["style"])
    assert re.findall(r"url\((.*?)\)", style) == ['"#colours"']
    assert "@import" not in style
    policy, scripts = page.policy(), page.content["script"][1:]
    assert policy["default-src"] == ["'none'"]
    assert not {"connect-src", "frame-src", "font-src", "object-src"} & set(policy)
    hashes = ["'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'" for text in scripts]
    assert policy["script-src"] == hashes
    assert all(not re.search(r"</(script|style)|<!--|<script", text, re.I) for text in (*scripts, style))
    names = {name for _, given in page.elements for name in given}
    assert "style" not in names
    assert not {name for name in names if name.startswith("on")}


def test_hostile_names_are_text(tmp_path: Path) -> None:
    calm = page_of_diff(make_diff(100, lambda i: f"node{i}"), tmp_path)
    page = page_of_diff(make_diff(100, lambda i: f"{WILD[i % len(WILD)]}{i}"), tmp_path)
    assert page.tags == calm.tags
    assert page.policy() == calm.policy()
    shown = [node[0] for side in page.data["nodes"] for node in side]
    shown += [cell for layer in page.data["layers"] for cell in layer if isinstance(cell, str)]
    text = "".join([*shown, *page.content[""]])
    assert not [mark for mark in ("\x00", "\x1b", "\u202e", "\ud800", "\udcff") if mark in text]
    assert "<script>alert(1)</script>" in text
    assert max(map(len, shown)) <= 240


def test_many_nodes_with_long_names_stay_small(tmp_path: Path) -> None:
    write_page(make_diff(4000), tmp_path / "many.html")
    assert (tmp_path / "many.html").stat().st_size < 4e6
    found = make_diff(10_000, lambda i: "n" * 10_000 + str(i))
    write_page(found, tmp_path / "long.html")
    assert (tmp_path / "long.html").stat().st_size < 10e6


# ---- rows and folds


def rows_of(levels: list[int], path: tuple[str, ...] = ()) -> list[GraphRow]:
    return [GraphRow(i, (i,), (i,), path, level, aside=False) for i, level in enumerate(levels)]


def test_equal_runs_are_folded_beside_changes() -> None:
    folds = fold_rows(rows_of([EQUAL] * 6 + [DEPARTS] + [EQUAL] * 2))
    assert folds == (Fold("", (0, 1, 2, 3, 4, 5)), 6, 7, 8)
    assert fold_rows(rows_of([EQUAL] * 6)) == tuple(range(6))


def test_modules_are_folds_and_long_lists_are_cut() -> None:
    rows = [
        replace(row, path=("a", "b") if row.group < 3 else ("c",) if row.group < 4 else ()) for row in rows_of([DEPARTS] * 6)
    ]
    assert fold_rows(rows) == (Fold("a/b", (0, 1, 2)), 3, 4, 5)
    folds = fold_rows(rows_of([DEPARTS] * 20_000))
    assert len(folds) <= MOST_CHILDREN
    waiting, seen = list(folds), 0
    while waiting:
        kid = waiting.pop()
        if isinstance(kid, Fold):
            assert len(kid.kids) <= MOST_CHILDREN
            waiting += kid.kids
        else:
            seen += 1
    assert seen == 20_000


def test_changes_are_kept_where_rows_are_left_out() -> None:
    rows = rows_of([DEPARTS if i % 3 == 0 else EQUAL for i in range(MOST_ROWS + 10)])
    kept = limit_rows(rows)
    assert len(kept) == MOST_ROWS
    assert sum(row.level for row in kept) == sum(row.level for row in rows)
    assert [row.group for row in kept] == sorted(row.group for row in kept)


def test_removed_nodes_stand_where_they_were() -> None:
    found = make_diff(6, lambda i: f"/m{i // 3}/n{i}")
    assert found.details is not None
    nodes = found.details.new
    gone = replace(found.groups[2], status="removed", new=())
    groups = (*found.groups[:2], *found.groups[3:], gone)
    moved = tuple(replace(node, reads=()) for node in nodes[:5])
    places = (((0,), (0,)), ((1,), (1,)), ((3,), (2,)), ((4,), (3,)), ((5,), (4,)), ((2,), ()))
    details = replace(found.details, new=moved, places=places)
    rows = list_rows(replace(found, groups=groups), details)
    assert [row.old for row in rows] == [(0,), (1,), (2,), (3,), (4,), (5,)]


# ---- pictures, words, and what is refused


def test_images_that_differ_most_come_first(tmp_path: Path) -> None:
    assert choose_images((0.1, 0.3, 0.2, 0.4), 4) == (3, 1, 2)
    assert choose_images((), 2) == (0, 1)
    found = replace(make_diff(10), probe={"name": "photos", "images": 4, "size": 8, "sha256": "0" * 64})
    rng = np.random.default_rng(0)
    maps = tuple(rng.standard_normal((2, 8, 8)) for _ in range(2))
    shown = PagePictures((3, 1), rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8), maps, "elrp")
    write_page(found, tmp_path / "maps.html", shown)
    text = (tmp_path / "maps.html").read_text("utf-8")
    assert text.count("data:image/webp") == 6
    cosine = float((maps[0][0] * maps[1][0]).sum() / np.linalg.norm(maps[0][0]) / np.linalg.norm(maps[1][0]))
    assert f"outputs differ by 40 %; cosine of the maps {cosine:.3f}" in text


def test_weights_are_judged_in_words() -> None:
    assert describe_weights(None) == ""
    words = describe_weights({"kind": "requantised", "difference": 0.01, "types": ["float32", "int8"]})
    assert words == "rounded to another type; they differ by 1 %; stored in int8 (before: float32)"
    words = describe_weights({"kind": "scaled", "factor": [0.5, 2.0]})
    assert words == "the same, scaled; factors from 0.5 to 2"


def test_places_that_can_not_hold_a_page_are_refused(tmp_path: Path) -> None:
    ox_file = tmp_path / "old.html"
    onnx.save(pairs.base(), ox_file)
    for goal, words in ((tmp_path / "page.png", "not a name for an HTML page"), (ox_file, "is one of the models")):
        with pytest.raises(OutputError, match=words):
            ox.diff(ox_file, ox_file, ox.Probes.generate(1, 16), output=goal)
    with pytest.raises(ConfigError, match="without its graphs"):
        write_page(replace(make_diff(6), details=None), tmp_path / "none.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.html"]
