"""Both zoos side by side: what is read, and that docs show what the tables give."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import kendalltau

from models.both import page
from models.both.__main__ import main
from models.both.comparison import MODELS, ROWS, Zoo, format_cells, format_comparison, read_minitaskonomy, read_realzoo
from models.both.page import BEGIN, END, format_section, format_summary, read_zoos, write_section
from models.realzoo.study import KINDS, Judgement, Kind, judge, judge_file
from onnxspace.evaluation import bootstrap
from tests.helpers.paths import REPOSITORY


@pytest.fixture(scope="module")
def zoos() -> tuple[Zoo, Zoo]:
    return read_zoos()


@pytest.fixture(scope="module")
def section(zoos: tuple[Zoo, Zoo]) -> str:
    return format_section(zoos)


@pytest.fixture(scope="module")
def summary(zoos: tuple[Zoo, Zoo]) -> str:
    return format_summary(zoos)


class TestZoos:
    def test_losses_are_shares_of_what_there_is_to_know(self) -> None:
        zoo = read_minitaskonomy()
        for kind, name in (("frozen", "oracle"), ("finetuned", "finetuned")):
            truth = zoo.truths[kind]
            with (MODELS / "minitaskonomy" / f"{name}.csv").open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if (row["target"], row["source"]) == ("depth", "edges2d")]
            found = truth.mean(kind)[truth.targets.index("depth"), truth.sources.index("edges2d")]
            assert found == pytest.approx(1 - np.mean([float(row["loss"]) for row in rows]))
            assert np.isnan(truth.mean(kind)[truth.targets.index("depth"), truth.sources.index("depth")])
            assert len(truth.sources) == 20
            assert not any("-" in name for name in truth.sources)

    def test_a_ranking_is_judged_as_the_zoo_itself_judges_it(self) -> None:
        zoo = read_realzoo()
        own = judge_file(zoo.rankings / "pictures mean_rank.csv", zoo.truths["frozen"])[1]
        np.testing.assert_array_equal(zoo.judge("frozen", "pictures mean_rank").each, own.each)

    def test_a_ranking_of_few_targets_leaves_the_others_out(self) -> None:
        zoo = read_minitaskonomy()
        found, truth = zoo.judge("frozen", "labels"), zoo.truths["frozen"]
        at = [truth.targets.index(name) for name in ("object", "scene")]
        assert np.flatnonzero(np.isfinite(found.each[:, 0])).tolist() == sorted(at)
        with (zoo.rankings / "labels.csv").open(newline="") as file:
            values = {row["source"]: float(row["value"]) for row in csv.DictReader(file) if row["target"] == "scene"}
        known = truth.mean("frozen")[truth.targets.index("scene")]
        mine = [values[name] for name in truth.sources if name != "scene"]
        assert found.each[truth.targets.index("scene"), 0] == pytest.approx(
            kendalltau(mine, known[np.isfinite(known)]).statistic
        )

    def test_every_ranking_that_is_kept_is_shown(self, zoos: tuple[Zoo, Zoo]) -> None:
        for zoo in zoos:
            kept = {
                file.stem for file in zoo.rankings.glob("*.csv") if not file.stem.startswith("unlabelled")
            }  # of realzoo alone
            assert kept == {name for _, name, _ in ROWS}

    def test_baselines(self, zoos: tuple[Zoo, Zoo]) -> None:
        for zoo in zoos:
            random, _, ceiling = zoo.judge_beside("frozen").values()
            known = zoo.truths["frozen"].mean("frozen")
            assert random.each[:, 1] == pytest.approx(5 / np.isfinite(known).sum(axis=1))
            assert ceiling.mean[0] > 0.6


def find_interval(zoo: Zoo, kind: Kind, name: str) -> tuple[float, float]:
    each = zoo.judge(kind, name).each[:, :1]
    low, high = bootstrap.intervals(each[np.isfinite(each[:, 0])])[:, 0]
    return float(low), float(high)


class TestSentences:
    """What docs/ranking.md and docs/evidence.md say in words of the tables."""

    def test_kin_say_nothing_of_where_to_start(self, zoos: tuple[Zoo, Zoo]) -> None:
        for zoo in zoos:
            for kind in KINDS:
                low, high = find_interval(zoo, kind, "generated attribution")
                assert low < 0 < high

    def test_mean_rank_is_behind_predictivity_on_rooms_and_not_on_real_images(self, zoos: tuple[Zoo, Zoo]) -> None:
        real, rooms = zoos
        names = ("pictures predictivity", "pictures probability_predictivity")
        assert all(
            find_interval(rooms, "frozen", "pictures mean_rank")[1] <= find_interval(rooms, "frozen", one)[0] for one in names
        )
        own = real.judge("frozen", "pictures mean_rank").mean[0]
        assert all(find_interval(real, "frozen", one)[0] < own < find_interval(real, "frozen", one)[1] for one in names)

    def test_knn_agreement_is_the_weaker_half_on_rooms(self, zoos: tuple[Zoo, Zoo]) -> None:
        halves = [zoos[1].judge("frozen", f"pictures {one}").mean[0] for one in ("knn_agreement", "probability_predictivity")]
        assert halves[0] < halves[1] - 0.1

    def test_trying_it_is_ahead_on_real_images_and_not_on_rooms(self, zoos: tuple[Zoo, Zoo]) -> None:
        real, rooms = zoos
        for tried in ("finetune", "finetune answers"):
            low = find_interval(real, "finetuned", tried)[0]
            others = [name for evidence, name, _ in ROWS if evidence in ("pictures", "labels")]
            assert all(low > find_interval(real, "finetuned", other)[1] for other in others)
        tried_mean, seen = (rooms.judge("finetuned", one).mean[0] for one in ("finetune answers", "pictures mean_rank"))
        assert tried_mean < seen < find_interval(rooms, "finetuned", "finetune answers")[1]


class TestCells:
    def test_mean_and_interval(self) -> None:
        truth = np.random.default_rng(0).random((8, 9))
        cells = format_cells(judge("", truth, truth, "frozen"))
        assert cells == ["1.00 [1.00, 1.00]", "1.00 [1.00, 1.00]", "0.0 [0.0, 0.0]"]

    def test_few_targets_have_no_interval_and_none_no_number(self) -> None:
        each = np.full((8, 3), np.nan)
        assert format_cells(Judgement("", "frozen", each)) == ["n/a"] * 3
        each[:2] = [[0.5, 1.0, 2.0], [0.7, 0.0, 4.0]]
        assert format_cells(Judgement("", "frozen", each)) == ["0.60 (2 targets)", "0.50 (2 targets)", "3.0 (2 targets)"]


class TestPage:
    def test_section_stands_in_the_docs(self, section: str) -> None:
        text = (REPOSITORY / "docs" / "ranking.md").read_text("utf-8")
        assert text.partition(BEGIN + "\n")[2].partition(END)[0] == section

    def test_the_summary_shows_the_tables_numbers(self, summary: str) -> None:
        assert summary in (REPOSITORY / "docs/evidence.md").read_text("utf-8")

    def test_every_evidence_stands_in_both_tables(self, zoos: tuple[Zoo, Zoo], summary: str) -> None:
        for table in (format_comparison(zoos, "frozen"), format_comparison(zoos, "finetuned"), summary):
            assert all(f"`{evidence}`" in table for evidence in ("none", "pictures", "labels", "finetuned"))
            assert len({line.count("|") for line in table.splitlines()}) == 1

    def test_section_replaces_its_former_self_and_stands_before_realzoo(self, tmp_path: Path) -> None:
        file = tmp_path / "ranking.md"
        file.write_text("# A\n\n<!-- realzoo: written by x -->\nrest\n")
        for section in ("first\n", "second\n"):
            write_section(file, section)
        assert file.read_text() == f"# A\n\n{BEGIN}\nsecond\n{END}\n\n<!-- realzoo: written by x -->\nrest\n"

    def test_command_writes_the_page_and_prints_the_table(
        self, zoos: tuple[Zoo, Zoo], section: str, summary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "ranking.md").write_text("# A\n\n<!-- realzoo: written by x -->\n")
        monkeypatch.setattr("models.both.__main__.MODELS", tmp_path / "models")
        monkeypatch.setattr("models.both.__main__.read_zoos", lambda: zoos)
        result = CliRunner().invoke(main, [])
        assert result.exit_code == 0
        assert result.output == summary
        assert section in (tmp_path / "docs" / "ranking.md").read_text("utf-8")
        assert page.BEGIN in (tmp_path / "docs" / "ranking.md").read_text("utf-8")
