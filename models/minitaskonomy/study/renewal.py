"""Lines of the study's tables whose scores have changed since, computed anew: `python -m models.minitaskonomy renew`.

The whole study takes hours; what regressions and scores of labels say, minutes. Lines of these scores that can't be had again
(photographs that aren't given, mean ranks with scores that aren't computed here) are taken out. `choosing.csv` stays: it needs
the values of all variants, and is the record of a choice that was made by the values of then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from models.minitaskonomy.cache import Arrays, Cache
from models.minitaskonomy.study import evaluation, score_matrix, tables
from models.minitaskonomy.study.evaluation import GROUPS, Judgement, Oracle
from models.minitaskonomy.study.features import load_features
from models.minitaskonomy.study.jobs import DEFAULT, Bench, Job, list_first_jobs
from models.minitaskonomy.study.pipeline import Say, compute_pieces, count_processes, open_rooms
from models.minitaskonomy.study.prediction import compute_predictivity, load_outputs
from models.minitaskonomy.study.probe_sets import write_probe_sets
from models.minitaskonomy.study.score_matrix import DEFAULT_PROBE, Score
from models.minitaskonomy.study.tables import read_rows, write_rows
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS, Zoo, list_entries
from onnxspace.inputs.execution import Device

#: Scores that regressions make, and those of labels.
KINDS = ("prediction", "labels")
Row = Mapping[str, str]


def renew(
    work: Path, *, models: Path = MODELS, device: Device = "auto", photos: Path | None = None, processes: int | None = None,
    say: Say = print,
) -> None:  # fmt: skip
    """Replace the lines of `KINDS` in `measures.csv` and `scores.csv` of `models`. Arguments as in `pipeline.run`."""
    zoo, rooms = Zoo(list_entries(models, list(TASKS)), work / "study"), partial(open_rooms, work)
    probes = write_probe_sets(zoo.work, lambda: rooms("probes").images(), photos)
    bench, kept = Bench(zoo, probes, device, rooms), Cache(zoo.work / "pieces")
    names = [name for name in probes if name != DEFAULT]
    jobs = [Job("labelled", "transfer"), *(Job(kind, probe) for kind in ("predicting", "by tool") for probe in names)]
    for stage in (list_first_jobs(names), jobs):
        compute_pieces(stage, bench, kept, processes or count_processes(), say)
    found = [_rank_by_default(bench, kept)]
    for job in jobs:
        found += score_matrix.read_scores(job, kept.read(job.name, bench.recipe(job)) or {}, zoo)
    replace_lines(models, zoo, found)


def _rank_by_default(bench: Bench, kept: Cache) -> Score:
    """`predictivity` on the generated images that `score` takes."""

    def compute() -> Arrays:
        probes = bench.images(DEFAULT)
        sides = load_features(bench.zoo, probes), load_outputs(bench.zoo, probes)
        return {DEFAULT: compute_predictivity(bench.zoo, *sides, len(probes))}

    job = Job("default alone", DEFAULT)
    values = kept.get(job.name, bench.recipe(job), compute)[DEFAULT]
    return Score(
        "prediction", DEFAULT, "", DEFAULT_PROBE, len(bench.images(DEFAULT)), score_matrix.select_targets(values, bench.zoo)
    )


def replace_lines(folder: Path, zoo: Zoo, scores: Sequence[Score]) -> None:
    """Judge `scores` by `oracle.csv` of `folder`, and put their lines in the place of all lines of `KINDS`."""
    oracle, judged = Oracle.read(folder / "oracle.csv", zoo.targets, zoo.names), list[Judgement]()
    for group in GROUPS if not zoo.main.all() else GROUPS[:1]:
        judged += [one for one in (evaluation.judge(score, oracle.mean, zoo, group) for score in scores) if one is not None]
    before, values = read_rows(folder / "measures.csv"), read_rows(folder / "scores.csv")
    changed = {_name(row) for row in before if row["kind"] in KINDS}
    measures = [row for row in before if row["kind"] not in KINDS]
    write_rows(folder / "measures.csv", evaluation.HEAD, [*measures, *evaluation.format_rows(judged)])
    shown = tables.list_values(_select_shown(judged), zoo)
    write_rows(folder / "scores.csv", tables.VALUE, [*(row for row in values if _name(row) not in changed), *shown])


def _select_shown(judged: Sequence[Judgement]) -> list[Score]:
    """What scores.csv holds of them: labels, the former default, and `predictivity` of the most images of each probe set."""
    scores = [one.score for one in judged if one.group == "tasks"]
    most = [one for one in scores if one.name == "predictivity"]
    most = [
        max((one for one in most if one.probe == probe), key=lambda one: one.images) for probe in {one.probe: 0 for one in most}
    ]
    return [*(one for one in scores if one.kind == "labels" or one.name == DEFAULT), *most]


def _name(row: Row) -> tuple[str, str]:
    """Of a score, with its options."""
    return row["score"], row["options"]
