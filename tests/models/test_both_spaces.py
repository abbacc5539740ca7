"""Rankings by a space beside those by `score`: how they are computed, what is kept of them, and the tables of the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import weightedtau

from models.both.comparison import MODELS, Zoo
from models.both.page import read_zoos
from models.both.space_page import BEGIN, END, ORDER, evaluate_rows, find_loss, format_tables, select_by_image, write_tables
from models.both.spaces import Case, RankedSource, rank_case, read_rows, write_rows
from models.realzoo.study import KINDS
from onnxspace.inputs.probes import Probes
from tests.helpers.paths import REPOSITORY

FILE, PAGE = MODELS / "both/space.csv", REPOSITORY / "docs/fingerprints.md"
ROWS = read_rows(FILE)


def row(target: str, value: float, by: str = "score") -> RankedSource:
    return RankedSource("zoo", 8, by, target, "a", value, 0)


def test_the_page_shows_what_the_file_gives() -> None:
    assert PAGE.read_text("utf-8").split(f"{BEGIN}\n")[1].split(END)[0] == format_tables(FILE)


@pytest.mark.parametrize("zoo", read_zoos(), ids=lambda zoo: zoo.name)
def test_a_space_of_pictures_ranks_as_well_as_score(zoo: Zoo) -> None:
    mine = [one for one in ROWS if one.zoo == zoo.name]
    for kind in KINDS:
        found = evaluate_rows(zoo, kind, mine)
        assert found.targets == zoo.truths[kind].targets
        assert find_loss(found, "pictures")[0] <= 0.03


def test_sizes_are_within_their_limits() -> None:
    sizes = {by: max(one.size for one in ROWS if one.by == by and one.images == 64) for by in ORDER}
    assert 0 < sizes["images"] <= 64 * 1024
    assert sizes["images"] < sizes["pictures"] <= 512 * 1024


def test_a_ranking_is_judged_by_the_truth_of_its_target() -> None:
    zoo = next(one for one in read_zoos() if one.name == "realzoo")
    some = [one for one in ROWS if (one.zoo, one.images) == ("realzoo", 64)]
    found = evaluate_rows(zoo, "frozen", some)
    values = {one.source: one.value for one in some if (one.by, one.target) == ("images", "emoji")}
    truth = zoo.truths["frozen"]
    known = truth.mean("frozen")[truth.targets.index("emoji")]
    pairs = [(values[name], known[truth.sources.index(name)]) for name in values]
    expected = weightedtau(*np.transpose(pairs)).statistic
    scored = next(one for one in found.scored if one.name == "images").measures["weighted_tau"]
    assert scored.values[found.targets.index("emoji"), 0] == pytest.approx(expected)


def test_targets_with_answers_per_image_are_those_without_pictures() -> None:
    assert select_by_image() == {"layout", "vanishing", "object", "scene"}


def test_rows_take_the_place_of_those_of_their_target(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    write_rows(file, [row("x", 0.25), row("y", 0.5), row("x", 0.125, "images")])
    write_rows(file, [row("x", 0.75)])
    assert read_rows(file) == [row("x", 0.75), row("y", 0.5)]


def test_a_page_without_a_place_for_the_tables_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text", "utf-8")
    with pytest.raises(ValueError, match=r"page\.md has no place"):
        write_tables(FILE, page)
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter", "utf-8")
    write_tables(FILE, page)
    assert page.read_text("utf-8") == f"before\n{BEGIN}\n{format_tables(FILE)}{END}\nafter"


def test_a_case_is_ranked_by_score_and_by_spaces() -> None:
    """Networks without positions in their features lose nothing, so that all three rank alike."""
    folder, names = MODELS / "realzoo", ("shapes-vit", "digits-plain", "letters-residual")
    models = [folder / "targets/emoji.onnx", *(folder / f"sources/{name}.onnx" for name in names)]
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
    found = list(rank_case(Case("realzoo", models, Probes("noise", images), ["emoji"])))
    values = {by: {one.source: one.value for one in found if one.by == by} for by in ORDER}
    assert set(values["score"]) == set(names)
    assert values["images"] == values["pictures"] == values["score"]
    assert len(set(values["score"].values())) > 1
    assert all((one.size > 0) == (one.by != "score") for one in found)
