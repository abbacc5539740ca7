"""Published numbers of rankings beside what onnxspace computes from the same data.

`python benchmarks/reproduction.py` writes docs/reproduction.md in seconds, from benchmarks/data alone; no model is run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from onnxspace.evaluation import Evaluation, Table, evaluate
from onnxspace.evaluation.bootstrap import intervals
from onnxspace.evaluation.correlation import kendall_tau, spearman, weighted_tau
from onnxspace.evaluation.precision import precision, recall
from onnxspace.evaluation.reading import read_aliases

DATA = Path(__file__).parent / "data"
PAGE = Path(__file__).parents[1] / "docs/reproduction.md"
#: P@1 … P@5 of RSA on 17 tasks, as printed in the ModelGiF paper (ICCV 2023).
RSA_PUBLISHED = (0.824, 0.882, 0.882, 0.809, 0.741)
#: Mean weighted tau over the 11 datasets, as printed (ECCV 2022).
MEANS_PUBLISHED = {"SFDA": 0.710, "NLEEP": 0.611, "LogME": 0.509, "PARC": 0.467, "LEEP": 0.410}
TARGETS, RELEVANT, CANDIDATES = 18, 5, 19
HEAD = """# Published numbers, computed again

Rankings that others published, held against the same data by `onnxspace evaluate`'s own functions. No model is run here: what
is checked are the measures, the matching of names, and that a target is never its own source. Written by
`python benchmarks/reproduction.py`; the data and their sources are in [benchmarks/data](../benchmarks/data/README.md), the
definitions in [Evaluation](evaluation.md). Cells with a bar show **published | ours**.
"""


def lines(name: str) -> list[dict[str, str]]:
    """The rows of a CSV file of the data, by its header."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def both(published: float, ours: float) -> str:
    return rf"{published:.3f} \| {ours:.3f}"


def oracle() -> Table:
    return Table.read(DATA / "taskonomy_affinities.csv").renamed(read_aliases(DATA / "taskonomy_aliases.csv"))


def rsa() -> Iterator[str]:
    """The one published matrix of similarities, ranked and judged from scratch."""
    found = evaluate(oracle(), [Table.read(DATA / "rsa_17x17.csv")])
    one = found.scored[0]
    ours = one.measures["precision"].mean
    yield "## RSA against the Taskonomy oracle"
    yield ""
    yield (
        f"The published 17 × 17 matrix, ranked for {len(found.targets)} targets with {len(found.candidates[0])} candidates each, "
        f"against the published transfer results. Published: ICCV 2023, on the same 17 tasks."
    )
    yield ""
    ks = range(1, RELEVANT + 1)
    yield from table(["", *(f"P@{k}" for k in ks)], [
        ["RSA", *(both(RSA_PUBLISHED[k - 1], ours[k - 1]) for k in ks)],
        ["random order", *(both(RELEVANT / 16, found.random.precision[k - 1]) for k in ks)],
        ["oracle", *(both(1.0, found.best.precision[k - 1]) for k in ks)],
    ])  # fmt: skip
    yield f"Hits for K = 1 … 16: {', '.join(f'{h:g}' for h in one.hits.sum(0))}. " + in_intervals(found)
    yield ""


def in_intervals(found: Evaluation) -> str:
    measures = found.scored[0].measures
    words = {"weighted_tau": "weighted tau", "kendall_tau": "Kendall tau", "spearman": "Spearman"}
    said = [f"{words[n]} {m.mean[0]:.2f} [{m.low[0]:.2f}, {m.high[0]:.2f}]" for n, m in measures.items() if n in words]
    return f"Rank correlations, means over targets with {100 * found.level:g} % intervals: {', '.join(said)}."


def ranking() -> Iterator[str]:
    """The oracle's order, which the curves are built on, from its numbers."""
    orders, numbers = Table.read(DATA / "taskonomy_ranking.csv"), oracle()
    values = numbers.grid(orders.targets, orders.sources)
    same = 0
    for row, target in enumerate(orders.targets):
        others = [i for i, source in enumerate(orders.sources) if source != target]
        same += [*np.argsort(-values[row, others])] == [*np.argsort(-orders.values[row, others])]
    found = evaluate(orders, [numbers])
    ks = range(1, CANDIDATES + 1)
    yield "## The oracle's order, and the curves of no and of all knowledge"
    yield ""
    yield (
        f"Sources sorted by the published transfer results stand in the published order for {same} of {len(orders.targets)} "
        f"targets. Random: published P = 5/19, R = K/19; oracle: published P = min(1, 5/K). Ours are counted from the tables."
    )
    yield ""
    yield from table(["K", "random P", "random R", "oracle P", "the results themselves P"], [
        [str(k), both(RELEVANT / CANDIDATES, found.random.precision[k - 1]), both(k / CANDIDATES, found.random.recall[k - 1]),
         both(min(1, RELEVANT / k), found.best.precision[k - 1]), f"{found.scored[0].measures['precision'].mean[k - 1]:.3f}"]
        for k in ks
    ])  # fmt: skip


def curves() -> Iterator[str]:
    """P and R of every published curve from its hits."""
    yield "## Precision curves"
    yield ""
    yield (
        "P@K = hits / (18 · K) and R@K = hits / (18 · 5), for every point of every published curve. Hits and published values are "
        "read off one plot, so this checks the definitions, not the rankings, which were never published but for the matrix above "
        "(which lacks three of the 20 models, so that the curve of RSA below can't be had from it). The last columns hold the "
        "largest difference over all points; published values are kept to four decimals. The last line is ours: the static "
        "baseline, a source's mean rank on the other targets."
    )
    yield ""
    ks = range(1, RELEVANT + 1)
    yield from table(["paper", "curve", *(f"P@{k}" for k in ks), "points", "difference of P", "of R"], curve_rows())


def curve_rows() -> Iterator[list[str]]:
    rows = lines("precision_curves.csv")
    for paper, name in dict.fromkeys((row["paper"], row["curve"]) for row in rows):
        points = [row for row in rows if (row["paper"], row["curve"]) == (paper, name)]
        ks = np.array([int(row["k"]) for row in points])
        hits = np.zeros(CANDIDATES)
        hits[ks - 1] = [float(row["hits"]) for row in points]
        ours = precision(hits, TARGETS)[ks - 1], recall(hits, RELEVANT, TARGETS)[ks - 1]
        told = [np.array([float(row[what]) for row in points]) for what in ("precision", "recall")]
        apart = [float(np.abs(mine - theirs).max()) for mine, theirs in zip(ours, told, strict=True)]
        first = {int(k): both(*pair) for k, *pair in zip(ks, told[0], ours[0], strict=True)}
        cells = [first.get(k, "") for k in range(1, RELEVANT + 1)]
        yield [paper, name, *cells, str(len(ks)), *(f"{value:.5f}" for value in apart)]
    orders = Table.read(DATA / "taskonomy_ranking.csv")
    static_ours = evaluate(orders, [], orders).scored[0].measures["precision"].mean
    yield ["", "static baseline", *(f"{value:.3f}" for value in static_ours[:RELEVANT]), "", "", ""]


def layers() -> Iterator[str]:
    """DEPARA's layers: do similarities rank them as fine-tuning does?"""
    yield "## DEPARA's layers"
    yield ""
    yield (
        "Similarity of 15 layers to the target model, against the accuracy of fine-tuning after each. Cells: Spearman, Kendall "
        "tau-b, weighted tau. Sums are ours, of the published V and E; the printed sums are beside them."
    )
    yield ""
    yield from table(
        ["source", "score", "1/10 of the data", "1/100 of the data", "largest difference from the printed sum"], layer_rows()
    )


def layer_rows() -> Iterator[list[str]]:
    rows = lines("depara_layers.csv")
    for source in ("ImageNet", "synthetic"):
        mine = [row for row in rows if row["source"] == source]
        column = {name: np.array([float(row[name]) for row in mine]) for name in mine[0] if name not in ("source", "layer")}
        sums = {"V + E": (column["V"] + column["E"], "lam1"), "V + 10 E": (column["V"] + 10 * column["E"], "lam10")}
        for name in ("V", "E"):
            yield [source, name, *agreement(column[name], column), ""]
        for name, (ours, printed) in sums.items():
            ours = np.round(ours, 2)  # as printed: sums of numbers with two decimals
            yield [source, name, *agreement(ours, column), f"{np.abs(ours - column[printed]).max():.2f}"]
            yield [source, f"{name}, as printed", *agreement(column[printed], column), ""]


def agreement(score: np.ndarray, column: dict[str, np.ndarray]) -> Iterator[str]:
    for accuracy in ("acc_tenth", "acc_hundredth"):
        yield ", ".join(f"{measure(score, column[accuracy]):.3f}" for measure in (spearman, kendall_tau, weighted_tau))


def static() -> Iterator[str]:
    """The table of 11 models × 11 datasets, its published scores, and knowing nothing of the target."""
    known = Table.read(DATA / "finetune_accuracy.csv")
    found = evaluate(known, [], known)
    ours = found.scored[0].measures["weighted_tau"]
    scores = {row["score"]: np.array([float(row[d]) for d in known.targets]) for row in lines("weighted_tau.csv")}
    order = sorted(scores, key=lambda name: -float(scores[name].mean()))
    yield "## The static baseline"
    yield ""
    yield (
        "Weighted tau on 11 datasets of the accuracy of 11 models (ECCV 2022). The static baseline is ours: a model's mean rank "
        "on the other ten datasets, without a look at the target. Scores are as printed; their means are ours beside the printed."
    )
    yield ""
    rows = [
        [target, f"{ours.values[i, 0]:.3f}", *(f"{scores[n][i]:.3f}" for n in order)] for i, target in enumerate(known.targets)
    ]
    means = ["**mean**", f"**{ours.mean[0]:.3f}**", *(both(MEANS_PUBLISHED[n], scores[n].mean()) for n in order)]
    ahead = np.stack([ours.values[:, 0] - scores[n] for n in order], axis=1)
    low, high = intervals(ahead)
    margins = [
        "static baseline ahead by",
        "",
        *(f"{m:.2f} [{a:.2f}, {b:.2f}]" for m, a, b in zip(ahead.mean(0), low, high, strict=True)),
    ]
    yield from table(["dataset", "static baseline", *order], [*rows, means, margins])
    yield f"Of the mean of the baseline, the 95 % interval over datasets is [{ours.low[0]:.2f}, {ours.high[0]:.2f}]."
    yield ""
    yield (
        "On the Taskonomy oracle it is the other way round: there the best sources differ from target to target, and the static "
        "baseline stays behind every published curve up to K = 3 (above)."
    )


def page() -> str:
    """The whole page, ending in a line break."""
    parts = (rsa(), ranking(), curves(), layers(), static())
    return "\n".join([HEAD, *(line for part in parts for line in part)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
