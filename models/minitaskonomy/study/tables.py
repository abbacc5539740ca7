"""The study's tables: `measures.csv`, `choosing.csv`, `scores.csv` and `fingerprints.csv`."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from models.minitaskonomy.study import evaluation, selection_table
from models.minitaskonomy.study.evaluation import GROUPS, MEASURES, Judgement, Oracle
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT
from models.minitaskonomy.study.score_matrix import Score
from models.minitaskonomy.zoo import Zoo

TAU = MEASURES.index("tau")
#: Columns of scores.csv and of fingerprints.csv.
VALUE = ("score", "options", "probe", "images", "target", "source", "value")
FINGERPRINT = ("numbers", "error", *(f"{m}{end}" for m in ("P@3", "tau") for end in ("", " low", " high")))
#: Scores whose values go to scores.csv, by name and options, besides the default, those chosen and those beside.
WITH_VALUES = (
    ("elrp", ""), ("gradient-x-input", ""), ("saliency", ""), ("depara", "λ 0.25"), ("rsa", ""), ("svcca", ""), ("cka", ""),
    ("dds", ""), ("modelgif", ""), ("predictivity", ""),
)  # fmt: skip


def write_tables(zoo: Zoo, scores: Sequence[Score], oracle_file: Path, into: Path) -> None:
    """Hold the scores against the oracle and write the tables."""
    oracle = Oracle.read(oracle_file, zoo.targets, zoo.names)
    all_judged: list[Judgement] = []
    for group in GROUPS if not zoo.main.all() else GROUPS[:1]:
        some = [evaluation.judge(one, oracle.mean, zoo, group) for one in [*evaluation.make_baselines(oracle, zoo), *scores]]
        some = [evaluation.judge_best(oracle, zoo, group), evaluation.judge_ceiling(oracle, zoo, group), *some]
        all_judged += [one for one in some if one is not None]
    into.mkdir(parents=True, exist_ok=True)
    without = [one for one in all_judged if one.score.name != "fingerprint"]
    write_rows(into / "measures.csv", evaluation.HEAD, evaluation.format_rows(without))
    write_rows(into / "fingerprints.csv", FINGERPRINT, _list_fingerprints(all_judged))
    made, winners = selection_table.choose(all_judged, oracle, zoo)
    write_rows(into / "choosing.csv", selection_table.HEAD, made)
    write_rows(into / "scores.csv", VALUE, list_values(_select_values(all_judged, winners), zoo))


def _list_fingerprints(some: Sequence[Judgement]) -> list[dict[str, str]]:
    """Error against the exact affinity, and measures, by numbers per image."""
    exact = next((one for one in some if one.score.name == AFFINITY), None)
    lines = []
    for one in some:
        if exact is None or one.group != "tasks" or one.score.name not in ("fingerprint", AFFINITY):
            continue
        error = float(np.sqrt(np.nanmean(np.square(one.score.values - exact.score.values))))
        cells = [one.score.options or "exact", f"{error:.5f}"]
        for place in (MEASURES.index("P@3"), TAU):
            cells += [f"{values[place]:.4f}" for values in (one.mean, one.low, one.high)]
        lines.append(dict(zip(FINGERPRINT, cells, strict=True)))
    return lines


def _select_values(some: Sequence[Judgement], winners: Sequence[Judgement]) -> list[Score]:
    """What scores.csv holds: the default, what is beside, published scores at the most images, the pools' best, probes with labels."""
    tasks = [one.score for one in some if one.group == "tasks"]
    shown = [one for one in tasks if one.kind in ("beside", "labels") and one.name != "oracle"]
    shown = [one for one in shown if one.name not in ("random", "oracle of one seed")]
    shown += [one for one in tasks if one.name in (DEFAULT, AFFINITY)]
    for probe in dict.fromkeys(one.probe for one in tasks if one.kind == "features"):
        for key in WITH_VALUES:
            same = [one for one in tasks if (one.name, one.options) == key and one.probe == probe]
            shown += [max(same, key=lambda one: one.images)] if same else []
    return list({id(one): one for one in [*shown, *(one.score for one in winners)]}.values())


def read_rows(path: Path) -> list[dict[str, str]]:
    """What `write_rows` wrote."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def list_values(scores: Sequence[Score], zoo: Zoo) -> list[dict[str, str]]:
    """Lines of scores.csv."""
    found = []
    for one in scores:
        said = (one.name, one.options, one.probe, str(one.images))
        for target, row in zip(zoo.targets, one.values, strict=True):
            kept = [(source, value) for source, value in zip(zoo.names, row, strict=True) if np.isfinite(value)]
            found += [dict(zip(VALUE, (*said, target, source, f"{value:.5g}"), strict=True)) for source, value in kept]
    return found


def write_rows(path: Path, head: Sequence[str], lines: Sequence[Mapping[str, str]]) -> None:
    """Beside its place, then renamed."""
    partial_file = path.with_name(f".{path.name}.partial")
    with partial_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    partial_file.replace(path)
