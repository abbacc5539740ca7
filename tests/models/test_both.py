"""Both zoos side by side: what is read, and that docs and README show what the tables give."""

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
from models.both.page import BEGIN, END, format_readme_table, format_section, read_zoos, write_section
from models.realzoo.study import Judgement, judge, judge_file
from tests.helpers.paths import REPOSITORY


@pytest.fixture(scope="module")
def zoos() -> tuple[Zoo, Zoo]:
    return read_zoos()


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
            assert {file.stem for file in zoo.rankings.glob("*.csv")} == {name for _, name, _ in ROWS}

    def test_baselines(self, zoos: tuple[Zoo, Zoo]) -> None:
        for zoo in zoos:
            random, _, ceiling = zoo.judge_beside("frozen").values()
            known = zoo.truths["frozen"].mean("frozen")
            assert random.each[:, 1] == pytest.approx(5 / np.isfinite(known).sum(axis=1))
            assert ceiling.mean[0] > 0.6


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
    def test_section_stands_in_the_docs(self, zoos: tuple[Zoo, Zoo]) -> None:
        text = (REPOSITORY / "docs" / "ranking.md").read_text("utf-8")
        assert text.partition(BEGIN + "\n")[2].partition(END)[0] == format_section(zoos)

    def test_readme_shows_the_tables_numbers(self, zoos: tuple[Zoo, Zoo]) -> None:
        assert format_readme_table(zoos) in (REPOSITORY / "README.md").read_text("utf-8")

    def test_every_evidence_stands_in_both_tables(self, zoos: tuple[Zoo, Zoo]) -> None:
        for table in (format_comparison(zoos, "frozen"), format_comparison(zoos, "finetuned"), format_readme_table(zoos)):
            assert all(f"`{evidence}`" in table for evidence in ("none", "pictures", "labels", "finetuned"))
            assert len({line.count("|") for line in table.splitlines()}) == 1

    def test_section_replaces_its_former_self_and_stands_before_realzoo(self, tmp_path: Path) -> None:
        file = tmp_path / "ranking.md"
        file.write_text("# A\n\n<!-- realzoo: written by x -->\nrest\n")
        for section in ("first\n", "second\n"):
            write_section(file, section)
        assert file.read_text() == f"# A\n\n{BEGIN}\nsecond\n{END}\n\n<!-- realzoo: written by x -->\nrest\n"

    def test_command_writes_the_page_and_prints_the_table(
        self, zoos: tuple[Zoo, Zoo], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "ranking.md").write_text("# A\n\n<!-- realzoo: written by x -->\n")
        monkeypatch.setattr("models.both.__main__.MODELS", tmp_path / "models")
        monkeypatch.setattr("models.both.__main__.read_zoos", lambda: zoos)
        result = CliRunner().invoke(main, [])
        assert result.exit_code == 0
        assert result.output == format_readme_table(zoos)
        assert format_section(zoos) in (tmp_path / "docs" / "ranking.md").read_text("utf-8")
        assert page.BEGIN in (tmp_path / "docs" / "ranking.md").read_text("utf-8")
