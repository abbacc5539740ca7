"""Which score predicts transfer? Every one of the tool's, and what might improve them, held against the true oracle.

`run` computes what is not kept yet, and writes `measures.csv`, `choosing.csv`, `scores.csv` and `fingerprints.csv`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from models.minitaskonomy.cache import Kept
from models.minitaskonomy.study import evaluation, score_matrix, selection_table
from models.minitaskonomy.study.evaluation import GROUPS, MEASURES, Judged, Oracle
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT, Bench, Job, all_jobs, first_jobs, probe_sets, run_job
from models.minitaskonomy.study.score_matrix import Score
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS, Zoo, entries
from onnxspace.errors import ModelNotFoundError, TableError
from onnxspace.inputs.methods import Device

Say = Callable[[str], None]
TAU = MEASURES.index("tau")
#: Scores whose values go to scores.csv, by name and options, besides the default, those chosen and those beside.
SHOWN = (
    ("elrp", ""), ("gradient-x-input", ""), ("saliency", ""), ("depara", "λ 0.25"), ("rsa", ""), ("svcca", ""), ("cka", ""),
    ("dds", ""), ("modelgif", ""), ("predictivity", ""),
)  # fmt: skip
_bench: Bench | None = None


def run(
    work: Path, *, models: Path = MODELS, results: Path | None = None, device: Device = "auto", photos: Path | None = None,
    processes: int | None = None, only: str | None = None, rooms: Callable[[str], Any] | None = None, say: Say = print,
) -> None:  # fmt: skip
    """Do the whole study, or go on with it.

    `models` holds the ONNX files and `oracle.csv`, `results` gets the tables (None: the same folder). `photos` is a folder of
    photographs as a third probe set. `rooms` opens a split of the rendered rooms. Each of `processes` has one thread; with `only`,
    pieces whose names hold that word are made, and no tables are written. Raises ModelNotFoundError and TableError where there is
    no model, or no oracle yet.
    """
    opened = rooms or partial(_rooms, work)
    folder = work / "study"
    zoo = Zoo(entries(models, list(TASKS)), folder)
    if not zoo.entries:
        raise ModelNotFoundError(f"There are no models in {models}. Train and export them first.")
    if only is None and not (models / "oracle.csv").is_file():
        raise TableError(f"There is no {models / 'oracle.csv'}. Measure the oracle first.")
    probes = probe_sets(folder, lambda: opened("probes").images(), photos)
    bench, kept = Bench(zoo, probes, device, opened), Kept(folder / "pieces")
    names = [name for name in probes if name != DEFAULT]
    jobs = [*first_jobs(names), *all_jobs(names)]
    for stage in (first_jobs(names), all_jobs(names)):
        _make([job for job in stage if only is None or only in job.name], bench, kept, processes or _cores(), say)
    if only is None:
        tables(zoo, _scores(jobs, bench, kept), models / "oracle.csv", results or models)


def _rooms(work: Path, split: str) -> Any:
    from models.minitaskonomy.rooms.dataset import Rooms

    return Rooms.load(work, split)


def _cores() -> int:
    import torch

    return 1 if torch.cuda.is_available() else max(1, min(8, os.cpu_count() or 1))


def _make(jobs: Sequence[Job], bench: Bench, kept: Kept, processes: int, say: Say) -> None:
    """Make the pieces that are missing, each in one process."""
    missing = [job for job in jobs if kept.read(job.name, bench.recipe(job)) is None]
    if processes == 1 or len(missing) < 2:
        for place, job in enumerate(missing, 1):
            run_job(job, bench, kept)
            say(f"study: {job.name} ({place} of {len(missing)})")
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (bench,)) as pool:
        running = {pool.submit(_work, job, kept): job for job in missing}
        try:
            for place, done in enumerate(as_completed(running), 1):
                done.result()
                say(f"study: {running[done].name} ({place} of {len(missing)})")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin(bench: Bench) -> None:
    """A worker has one thread: two workers of one are quicker than one of two."""
    global _bench
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    _bench = bench


def _work(job: Job, kept: Kept) -> bool:
    assert _bench is not None
    return run_job(job, _bench, kept)


def _scores(jobs: Sequence[Job], bench: Bench, kept: Kept) -> list[Score]:
    """All scores of all pieces, and those that are made of several."""
    found: list[Score] = []
    for job in jobs:
        arrays = kept.read(job.name, bench.recipe(job))
        found += [] if arrays is None else score_matrix.scores_of(job, arrays, bench.zoo)
    mixed = list(score_matrix.depara(found, bench.zoo))
    most = max((one.images for one in found if one.name == "rsa"), default=0)
    for images in sorted({64, most}):
        mixed += score_matrix.combined(found, images)
    return [one for one in [*found, *mixed] if one.name != "edges"]


def tables(zoo: Zoo, scores: Sequence[Score], oracle_file: Path, into: Path) -> None:
    """Hold the scores against the oracle and write the tables."""
    oracle = Oracle.read(oracle_file, zoo.targets, zoo.names)
    all_judged: list[Judged] = []
    for group in GROUPS if not zoo.main.all() else GROUPS[:1]:
        some = [evaluation.judge(one, oracle.mean, zoo, group) for one in [*evaluation.beside(oracle, zoo), *scores]]
        some = [evaluation.best(oracle, zoo, group), evaluation.ceiling(oracle, zoo, group), *some]
        all_judged += [one for one in some if one is not None]
    into.mkdir(parents=True, exist_ok=True)
    without = [one for one in all_judged if one.score.name != "fingerprint"]
    _write(into / "measures.csv", evaluation.HEAD, evaluation.rows(without))
    _write(into / "fingerprints.csv", FINGERPRINT, _fingerprints(all_judged))
    made, winners = selection_table.choose(all_judged, oracle, zoo)
    _write(into / "choosing.csv", selection_table.HEAD, made)
    _write(into / "scores.csv", VALUE, _values(_shown(all_judged, winners), zoo))


VALUE = ("score", "options", "probe", "images", "target", "source", "value")
FINGERPRINT = ("numbers", "error", *(f"{m}{end}" for m in ("P@3", "tau") for end in ("", " low", " high")))


def _fingerprints(some: Sequence[Judged]) -> list[dict[str, str]]:
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


def _shown(some: Sequence[Judged], winners: Sequence[Judged]) -> list[Score]:
    """What scores.csv holds: the default, what is beside, published scores at the most images, the pools' best, probes with labels."""
    tasks = [one.score for one in some if one.group == "tasks"]
    shown = [one for one in tasks if one.kind in ("beside", "labels") and one.name != "oracle"]
    shown = [one for one in shown if one.name not in ("random", "oracle of one seed")]
    shown += [one for one in tasks if one.name in (DEFAULT, AFFINITY)]
    for probe in dict.fromkeys(one.probe for one in tasks if one.kind == "features"):
        for key in SHOWN:
            same = [one for one in tasks if (one.name, one.options) == key and one.probe == probe]
            shown += [max(same, key=lambda one: one.images)] if same else []
    return list({id(one): one for one in [*shown, *(one.score for one in winners)]}.values())


def _values(scores: Sequence[Score], zoo: Zoo) -> list[dict[str, str]]:
    found = []
    for one in scores:
        said = (one.name, one.options, one.probe, str(one.images))
        for target, row in zip(zoo.targets, one.values, strict=True):
            kept = [(source, value) for source, value in zip(zoo.names, row, strict=True) if np.isfinite(value)]
            found += [dict(zip(VALUE, (*said, target, source, f"{value:.5g}"), strict=True)) for source, value in kept]
    return found


def _write(path: Path, head: Sequence[str], lines: Sequence[Mapping[str, str]]) -> None:
    """Beside its place, then renamed."""
    partial_file = path.with_name(f".{path.name}.partial")
    with partial_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    partial_file.replace(path)
