"""Published numbers, from the data of benchmarks/data, and the page that shows them."""

from __future__ import annotations

import csv
import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest
from scipy import stats

from onnxspace.evaluation import Table, evaluate
from onnxspace.evaluation.precision import precision, recall
from onnxspace.evaluation.reading import read_aliases
from tests.helpers.paths import REPOSITORY

DATA = REPOSITORY / "benchmarks/data"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduction", REPOSITORY / "benchmarks/reproduction.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes(script: ModuleType) -> None:
    assert (REPOSITORY / "docs/reproduction.md").read_text("utf-8") == script.page()


def test_links_of_the_page_and_of_evaluation_lead_to_files() -> None:
    for name in ("reproduction.md", "evaluation.md"):
        for target in re.findall(r"\]\(([^)]+)\)", (REPOSITORY / "docs" / name).read_text("utf-8")):
            assert (REPOSITORY / "docs" / target.partition("#")[0]).exists(), target


def test_every_file_of_the_data_is_named_with_its_source() -> None:
    readme = (DATA / "README.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `([a-z0-9_]+\.csv)`", readme, re.M)) == sorted(p.name for p in DATA.glob("*.csv"))


@pytest.mark.parametrize("oracle", ["taskonomy_ranking.csv", "taskonomy_affinities.csv"])
def test_rsas_published_precision(oracle: str) -> None:
    """From the order, and from the numbers with their other names."""
    known = Table.read(DATA / oracle).renamed(read_aliases(DATA / "taskonomy_aliases.csv"))
    found = evaluate(known, [Table.read(DATA / "rsa_17x17.csv")])
    one = found.scored[0]
    assert one.hits.sum(0).tolist() == [14, 30, 45, 55, 63, 66, 69, 72, 77, 78, 78, 79, 82, 84, 85, 85]
    np.testing.assert_allclose(one.measures["precision"].mean[:5], [0.824, 0.882, 0.882, 0.809, 0.741], atol=5e-4)
    np.testing.assert_allclose(found.random.precision, 0.3125)
    assert found.scored[0].measures["spearman"].mean[0] == pytest.approx(by_hand(known), abs=1e-12)


def by_hand(known: Table) -> float:
    """Mean Spearman over targets, with plain lists."""
    rsa, found = Table.read(DATA / "rsa_17x17.csv"), []
    for target in rsa.targets:
        if target in known.targets:
            row, mine = known.values[known.targets.index(target)], rsa.values[rsa.targets.index(target)]
            shared = [source for source in rsa.sources if source != target]
            truth = [row[known.sources.index(source)] for source in shared]
            found.append(stats.spearmanr(truth, [mine[rsa.sources.index(source)] for source in shared]).statistic)
    return float(np.mean(found))


def test_every_published_curve_is_its_hits() -> None:
    with (DATA / "precision_curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 173
    for row in rows:
        hits = np.zeros(19)
        hits[int(row["k"]) - 1] = float(row["hits"])
        assert precision(hits, 18)[int(row["k"]) - 1] == pytest.approx(float(row["precision"]), abs=5.1e-5)
        assert recall(hits, 5, 18)[int(row["k"]) - 1] == pytest.approx(float(row["recall"]), abs=5.1e-5)


def test_the_published_order_is_that_of_the_published_numbers() -> None:
    numbers = Table.read(DATA / "taskonomy_affinities.csv").renamed(read_aliases(DATA / "taskonomy_aliases.csv"))
    found = evaluate(Table.read(DATA / "taskonomy_ranking.csv"), [numbers])
    assert (len(found.targets), {len(sources) for sources in found.candidates}) == (18, {19})
    ks = np.arange(1, 20)
    np.testing.assert_allclose(found.scored[0].measures["precision"].mean, np.minimum(1, 5 / ks))
    np.testing.assert_allclose(found.scored[0].measures["kendall_tau"].values, 1)
    np.testing.assert_allclose(found.random.precision, 5 / 19)
    np.testing.assert_allclose(found.random.recall, ks / 19)
    np.testing.assert_allclose(found.best.precision, np.minimum(1, 5 / ks))


def test_the_static_baseline_reaches_837_above_every_published_score() -> None:
    known = Table.read(DATA / "finetune_accuracy.csv")
    found = evaluate(known, [], known)
    mean = float(found.scored[0].measures["weighted_tau"].mean[0])
    assert round(mean, 3) == 0.837
    with (DATA / "weighted_tau.csv").open(newline="") as file:
        published = {row["score"]: [float(row[d]) for d in known.targets] for row in csv.DictReader(file)}
    means = {name: round(float(np.mean(values)), 3) for name, values in published.items()}
    assert means == {"SFDA": 0.710, "NLEEP": 0.611, "LogME": 0.509, "PARC": 0.467, "LEEP": 0.410}
    assert mean > max(means.values())


def test_the_static_baseline_on_taskonomy_is_behind_every_curve_for_three_places(script: ModuleType) -> None:
    """What the page says in words."""
    orders = Table.read(DATA / "taskonomy_ranking.csv")
    static = evaluate(orders, [], orders).scored[0].measures["precision"].mean
    with (DATA / "precision_curves.csv").open(newline="") as file:
        ahead = [float(r["precision"]) > static[int(r["k"]) - 1] for r in csv.DictReader(file) if int(r["k"]) <= 3]
    assert len(ahead) > 30
    assert all(ahead)
    assert "behind every published curve up to K = 3" in script.page()
