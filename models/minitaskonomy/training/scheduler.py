"""Train what is not trained yet: each network in a process of its own, in the interpreter that has its framework."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from models.minitaskonomy.training import checkpoints
from models.minitaskonomy.training.jobs import JOBS, PACKAGES, Framework, Job, Settings, choose_settings
from models.minitaskonomy.training.process import Order, Say
from onnxspace.errors import ModelError

ROOT = Path(__file__).resolve().parents[3]
_MOST_WORKERS = 8
#: One thread for each network, whatever its framework: several are trained at once.
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}


def train_all(
    work: Path, device: str = "auto", *, jobs: Iterable[Job] = tuple(JOBS.values()), settings: Settings | None = None,
    python: str | None = None, workers: int | None = None, say: Say = print,
) -> list[str]:  # fmt: skip
    """Train every job that has no finished network of this recipe in `work / "trained"`; gives the names of those that are there.

    `python` is an interpreter that has Keras and JAX (default: this one); where it lacks a framework, one sentence through
    `say` tells so, and the framework's networks are left out. `workers` networks are trained at once, by default one for each
    core, up to 8. Interrupted, it goes on where it was: networks that are not finished start over. Raises ModelError with the
    last words of a training that failed.

    `settings` takes the place of `jobs.choose_settings`.
    """
    chosen = select_available(tuple(jobs), python or sys.executable, say)
    open_orders = [
        one for one in (make_order(job, settings or choose_settings(job), work, device) for job in chosen) if _is_missing(one)
    ]
    if open_orders:
        _render_rooms(work, device)
        _train_orders(open_orders, python or sys.executable, workers or min(_MOST_WORKERS, os.cpu_count() or 1), say)
    return [job.name for job in chosen]


def make_order(job: Job, settings: Settings, work: Path, device: str) -> Order:
    """What is to be done for a job, with the recipe by which it is known."""
    return Order(job, settings, work.absolute(), device, checkpoints.describe_recipe(job, settings, _digest_rooms()))


@cache
def _digest_rooms() -> dict[str, str]:
    """What determines the rooms."""
    from models.minitaskonomy.rooms import dataset

    return {split: dataset.digest_split(split) for split in ("train", "validation")}


def select_available(jobs: Sequence[Job], python: str, say: Say) -> list[Job]:
    """The jobs whose framework an interpreter has."""
    lacking = {made: find_missing(made, python) for made in PACKAGES if any(job.framework == made for job in jobs)}
    for made, packages in lacking.items():
        if packages:
            names = ", ".join(job.name for job in jobs if job.framework == made)
            say(f"{names} are left out: {python} has no {' and no '.join(packages)}. Name an interpreter that has as --python.")
    return [job for job in jobs if not lacking.get(job.framework)]


def find_missing(framework: Framework, python: str) -> list[str]:
    """The packages of a framework that an interpreter lacks. Raises ModelError where it can't be started."""
    wanted = PACKAGES.get(framework, ())
    code = "import sys; from importlib.util import find_spec; print(*(p for p in sys.argv[1:] if find_spec(p) is None))"
    try:
        found = subprocess.run([python, "-c", code, *wanted, "onnxspace"], capture_output=True, text=True, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ModelError(f"--python {python} can't be started. Name a Python interpreter.") from error
    return found.stdout.split()


@contextmanager
def export_root() -> Iterator[None]:
    """Other processes started in the block find this package, wherever the user is."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _is_missing(order: Order) -> bool:
    return checkpoints.find_checkpoint(order.work, order.job, order.recipe) is None


def _render_rooms(work: Path, device: str) -> None:
    """Once, before several processes want the rooms at the same time."""
    import torch

    from models.minitaskonomy.rooms.dataset import Rooms

    processor = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    for split in ("train", "validation"):
        Rooms.load(work, split, processor)


def _train_orders(wanted: Sequence[Order], python: str, workers: int, say: Say) -> None:
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(_train_one, order, python, say) for order in wanted]
        try:
            for each in running:
                each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _train_one(order: Order, python: str, say: Say) -> None:
    """Train one network in a process of its own, and pass on what it says."""
    own = order.job.framework == "torch"
    command = [sys.executable if own else python, "-m", f"{__package__}.{order.job.framework}_trainer", order.text()]
    environment = {**os.environ, **_ONE_THREAD}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=environment) as child:
        assert child.stdout is not None
        last = ""
        for line in child.stdout:
            last = line.strip() or last
            if line.startswith(f"{order.job.name}: "):
                say(line.rstrip())
    if child.returncode:
        raise ModelError(f"The training of {order.job.name} ended with code {child.returncode} ({last[:300].rstrip('.')}).")
