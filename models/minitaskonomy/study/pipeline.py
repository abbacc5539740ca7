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

from models.minitaskonomy.cache import Cache
from models.minitaskonomy.study import evaluation, score_matrix, selection_table
from models.minitaskonomy.study.evaluation import GROUPS, MEASURES, Judgement, Oracle
from models.minitaskonomy.study.jobs import AFFINITY, DEFAULT, Bench, Job, list_first_jobs, list_jobs, run_job, write_probe_sets
from models.minitaskonomy.study.score_matrix import Score
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS, Zoo, list_entries
from onnxspace.errors import ModelNotFoundError, TableError
from onnxspace.inputs.methods import Device

Say = Callable[[str], None]
TAU = MEASURES.index("tau")
#: Scores whose values go to scores.csv, by name and options, besides the default, those chosen and those beside.
WITH_VALUES = (
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
    opened = rooms or partial(_open_rooms, work)
    folder = work / "study"
    zoo = Zoo(list_entries(models, list(TASKS)), folder)
    if not zoo.entries:
        raise ModelNotFoundError(f"There are no models in {models}. Train and export them first.")
    if only is None and not (models / "oracle.csv").is_file():
        raise TableError(f"There is no {models / 'oracle.csv'}. Measure the oracle first.")
    probes = write_probe_sets(folder, lambda: opened("probes").images(), photos)
    bench, kept = Bench(zoo, probes, device, opened), Cache(folder / "pieces")
    names = [name for name in probes if name != DEFAULT]
    jobs = [*list_first_jobs(names), *list_jobs(names)]
    for stage in (list_first_jobs(names), list_jobs(names)):
        _compute_pieces(
            [job for job in stage if only is None or only in job.name], bench, kept, processes or _count_processes(), say
        )
    if only is None:
        write_tables(zoo, _collect_scores(jobs, bench, kept), models / "oracle.csv", results or models)


def _open_rooms(work: Path, split: str) -> Any:
    from models.minitaskonomy.rooms.dataset import Rooms

    return Rooms.load(work, split)


def _count_processes() -> int:
    import torch

    return 1 if torch.cuda.is_available() else max(1, min(8, os.cpu_count() or 1))


def _compute_pieces(jobs: Sequence[Job], bench: Bench, kept: Cache, processes: int, say: Say) -> None:
    """Make the pieces that are missing, each in one process."""
    missing = [job for job in jobs if kept.read(job.name, bench.recipe(job)) is None]
    if processes == 1 or len(missing) < 2:
        for place, job in enumerate(missing, 1):
            run_job(job, bench, kept)
            say(f"study: {job.name} ({place} of {len(missing)})")
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _start_worker, (bench,)) as pool:
        running = {pool.submit(_run_in_worker, job, kept): job for job in missing}
        try:
            for place, done in enumerate(as_completed(running), 1):
                done.result()
                say(f"study: {running[done].name} ({place} of {len(missing)})")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(bench: Bench) -> None:
    """A worker has one thread: two workers of one are quicker than one of two."""
    global _bench
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    threadpool_limits(1)
    _bench = bench


def _run_in_worker(job: Job, kept: Cache) -> bool:
    assert _bench is not None
    return run_job(job, _bench, kept)


def _collect_scores(jobs: Sequence[Job], bench: Bench, kept: Cache) -> list[Score]:
    """All scores of all pieces, and those that are made of several."""
    found: list[Score] = []
    for job in jobs:
        arrays = kept.read(job.name, bench.recipe(job))
        found += [] if arrays is None else score_matrix.read_scores(job, arrays, bench.zoo)
    mixed = list(score_matrix.mix_depara(found, bench.zoo))
    most = max((one.images for one in found if one.name == "rsa"), default=0)
    for images in sorted({64, most}):
        mixed += score_matrix.average_ranks(found, images)
    return [one for one in [*found, *mixed] if one.name != "edges"]


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
    _write_csv(into / "measures.csv", evaluation.HEAD, evaluation.format_rows(without))
    _write_csv(into / "fingerprints.csv", FINGERPRINT, _list_fingerprints(all_judged))
    made, winners = selection_table.choose(all_judged, oracle, zoo)
    _write_csv(into / "choosing.csv", selection_table.HEAD, made)
    _write_csv(into / "scores.csv", VALUE, _list_values(_select_values(all_judged, winners), zoo))


VALUE = ("score", "options", "probe", "images", "target", "source", "value")
FINGERPRINT = ("numbers", "error", *(f"{m}{end}" for m in ("P@3", "tau") for end in ("", " low", " high")))


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


def _list_values(scores: Sequence[Score], zoo: Zoo) -> list[dict[str, str]]:
    found = []
    for one in scores:
        said = (one.name, one.options, one.probe, str(one.images))
        for target, row in zip(zoo.targets, one.values, strict=True):
            kept = [(source, value) for source, value in zip(zoo.names, row, strict=True) if np.isfinite(value)]
            found += [dict(zip(VALUE, (*said, target, source, f"{value:.5g}"), strict=True)) for source, value in kept]
    return found


def _write_csv(path: Path, head: Sequence[str], lines: Sequence[Mapping[str, str]]) -> None:
    """Beside its place, then renamed."""
    partial_file = path.with_name(f".{path.name}.partial")
    with partial_file.open("w", newline="") as file:
        writer = csv.DictWriter(file, head, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    partial_file.replace(path)
