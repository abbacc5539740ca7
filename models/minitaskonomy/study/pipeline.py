"""Which score predicts transfer? Every one of the tool's, and what might improve them, held against the true oracle.

`run` computes what is not kept yet, and writes `measures.csv`, `choosing.csv`, `scores.csv` and `fingerprints.csv`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from models.minitaskonomy.cache import Cache
from models.minitaskonomy.study import score_matrix
from models.minitaskonomy.study.jobs import DEFAULT, Bench, Job, list_first_jobs, list_jobs, run_job
from models.minitaskonomy.study.probe_sets import write_probe_sets
from models.minitaskonomy.study.score_matrix import Score
from models.minitaskonomy.study.tables import write_tables
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.zoo import MODELS, Zoo, list_entries
from onnxspace.errors import ModelNotFoundError, TableError
from onnxspace.inputs.execution import Device

Say = Callable[[str], None]
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
    opened = rooms or partial(open_rooms, work)
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
        compute_pieces(
            [job for job in stage if only is None or only in job.name], bench, kept, processes or count_processes(), say
        )
    if only is None:
        write_tables(zoo, _collect_scores(jobs, bench, kept), models / "oracle.csv", results or models)


def open_rooms(work: Path, split: str) -> Any:
    from models.minitaskonomy.rooms.dataset import Rooms

    return Rooms.load(work, split)


def count_processes() -> int:
    import torch

    return 1 if torch.cuda.is_available() else max(1, min(8, os.cpu_count() or 1))


def compute_pieces(jobs: Sequence[Job], bench: Bench, kept: Cache, processes: int, say: Say) -> None:
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
