"""Every ranking of both zoos' folders `rankings`, held against readouts of frozen networks and against fine-tuning."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.realzoo.study import KINDS, MEASURES, Judgement, Kind, Truth, judge, judge_ceiling
from onnxspace.evaluation import Table, bootstrap
from onnxspace.evaluation.static_baseline import static_baseline

MODELS = Path(__file__).parents[1]
Values = NDArray[np.float64]
#: Targets below which a mean has no interval.
FEWEST = 5
#: The evidence of a ranking, its name in the folder `rankings`, and what it is in words.
ROWS = (
    ("none", "generated attribution", "affinity of maps (`score` without pictures: a list of models that are alike)"),
    ("none", "generated predictivity", "`--by predictivity`"),
    ("none", "generated dds", "`--by dds`"),
    ("pictures", "pictures mean_rank", "**`mean_rank`** (`score --probe`)"),
    ("pictures", "pictures knn_agreement", "`--by knn_agreement`"),
    ("pictures", "pictures probability_predictivity", "`--by probability_predictivity`"),
    ("pictures", "pictures predictivity", "`--by predictivity`"),
    ("pictures", "pictures dds", "`--by dds`"),
    ("pictures", "pictures cka", "`--by cka`"),
    ("pictures", "pictures rsa", "`--by rsa`"),
    ("labels", "labels", "**mean rank of knn, linear_probe, logme** (`transfer`)"),
    ("labels", "labels knn", "`--by knn`"),
    ("labels", "labels linear_probe", "`--by linear_probe`"),
    ("labels", "labels logme", "`--by logme`"),
    ("labels", "labels h_score", "`--by h_score`"),
    ("labels", "labels sfda", "`--by sfda`"),
    ("finetuned", "finetune", "**`transfer --by finetune`**"),
    ("finetuned", "finetune answers", "**`score --probe --by finetune`**, without labels"),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Zoo:
    """A zoo's name, its truth by each kind of transfer, and the folder of its rankings."""

    name: str
    truths: dict[Kind, Truth]
    rankings: Path

    def judge(self, kind: Kind, ranking: str) -> Judgement:
        """A ranking of the folder; targets that it lacks stay NaN."""
        truth = self.truths[kind]
        values = Table.read(self.rankings / f"{ranking}.csv").grid(truth.targets, truth.sources)
        return judge(ranking, values, truth.mean(kind), kind)

    def judge_beside(self, kind: Kind) -> dict[str, Judgement]:
        """What takes no look at a target, and the noise of the truth."""
        truth = self.truths[kind]
        known = truth.mean(kind)
        static = static_baseline(truth.table(kind), truth.targets).values
        return {
            "random order": judge("random", np.zeros_like(known), known, kind),
            "static baseline: sources that did well elsewhere": judge("static", static, known, kind),
            "ceiling: one seed of the truth, for the others": judge_ceiling(truth, kind),
        }


def read_realzoo(folder: Path = MODELS / "realzoo") -> Zoo:
    """The zoo of real images; the truth is accuracy."""
    truth = Truth.read(folder / "truth.csv")
    return Zoo("realzoo", dict.fromkeys(KINDS, truth), folder / "rankings")


def read_minitaskonomy(folder: Path = MODELS / "minitaskonomy") -> Zoo:
    """The zoo of rooms, networks of its main architecture; the truth is 1 − loss, the share of what there is to know."""
    files: dict[Kind, Path] = {"finetuned": folder / "finetuned.csv", "frozen": folder / "oracle.csv"}
    return Zoo("mini-Taskonomy", {kind: _read_losses(file, kind) for kind, file in files.items()}, folder / "rankings")


def _read_losses(file: Path, kind: Kind) -> Truth:
    with file.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if "-" not in row["source"]]
    targets, sources, seeds = (list(dict.fromkeys(row[name] for row in rows)) for name in ("target", "source", "seed"))
    values = np.full((len(seeds), len(targets), len(sources)), np.nan)
    for row in (one for one in rows if one["target"] != one["source"]):
        place = seeds.index(row["seed"]), targets.index(row["target"]), sources.index(row["source"])
        values[place] = 1 - float(row["loss"])
    return Truth(tuple(targets), tuple(sources), {kind: values})


def format_cells(one: Judgement) -> list[str]:
    """Mean and 95 % interval of each measure; for few targets the mean and their number."""
    each = one.each[np.isfinite(one.each[:, 0])]
    if not len(each):
        return ["n/a"] * len(MEASURES)
    low, high = bootstrap.intervals(each)
    cells = []
    for name, mean, *ends in zip(MEASURES, one.mean, low, high, strict=True):
        digits = 1 if name == "regret" else 2
        interval = f"[{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]" if len(each) >= FEWEST else f"({len(each)} targets)"
        cells.append(f"{mean:.{digits}f} {interval}")
    return cells


def format_comparison(zoos: Sequence[Zoo], kind: Kind) -> str:
    """A row for each ranking, the zoos beside each other."""
    head = ["evidence", "ranked by", *(f"{zoo.name}: {measure}" for zoo in zoos for measure in MEASURES)]
    beside = [zoo.judge_beside(kind) for zoo in zoos]
    rows = [["", words, *(cell for one in beside for cell in format_cells(one[words]))] for words in beside[0]]
    rows += [["`" + evidence + "`", words, *(cell for zoo in zoos for cell in format_cells(zoo.judge(kind, name)))]
             for evidence, name, words in ROWS]  # fmt: skip
    return format_rows(head, rows)


def format_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *rows))
