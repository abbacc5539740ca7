"""The true transfers: how well a small readout on each source's frozen encoder learns each target from a few labels.

As in Taskonomy (Zamir et al., CVPR 2018) the encoder is frozen, the readout is small, and labels are few; as for any user, the
encoder is the one in the ONNX file, run by ONNX Runtime. The loss on rooms that nobody was trained on is a share: 1 is what
knowing nothing gets, 0 is perfect.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import onnxspace as ox
from models.minitaskonomy.cache import Cache, digest_recipe
from models.minitaskonomy.oracle import transfers
from models.minitaskonomy.oracle.transfers import Settings, choose_device
from models.minitaskonomy.tasks import TASKS, Task
from models.minitaskonomy.training.process import Say
from models.minitaskonomy.zoo import Entry, list_entries
from onnxspace.evaluation.correlation import weighted_tau
from onnxspace.evaluation.precision import hits, relevance
from onnxspace.storage.atomic import whole_file

#: Raise it when losses come out otherwise for another reason than the settings.
VERSION = 1
Losses = NDArray[np.float64]


def measure(
    work: Path, folder: Path, device: str = "auto", *, settings: Settings | None = None, tasks: Sequence[Task] = tuple(TASKS.values()),
    workers: int | None = None, output: Path | None = None, say: Say = print,
) -> Path:  # fmt: skip
    """Every transfer from the ONNX files of `folder` to `tasks`, as `folder / "oracle.csv"` (or `output`): target, source, seed, loss.

    What a source gives is kept in `work / "oracle"` by its file, the rooms and the settings, and not computed again. `workers`
    processes of one thread each share the sources, by default one per core; on a GPU there is one. Raises ModelError where a file
    can't be run.
    """
    chosen = settings or Settings()
    possible = [task.name for task in tasks if chosen.readout == "trained" or task.kind == "image"]
    job = Job(work.absolute(), device, chosen, tuple(possible), _digest_rooms(work, device))
    sources, found = list_entries(folder, list(TASKS)), dict[str, Losses]()
    for entry, losses in zip(sources, _measure_each(job, sources, workers), strict=True):
        found[entry.name] = losses
        say(f"{entry.name}: {', '.join(f'{name} {loss:.2f}' for name, loss in zip(job.targets, losses.mean(1), strict=True))}")
    target = output or folder / "oracle.csv"
    _write_losses(target, job.targets, found)
    return target


def _digest_rooms(work: Path, device: str) -> dict[str, str]:
    """What determines the rooms; they are rendered first where that is to be done, before several processes want them."""
    from models.minitaskonomy.rooms import dataset

    for split in ("transfer", "test"):
        dataset.Rooms.load(work, split, choose_device(device).type)
    return {split: dataset.digest_split(split) for split in ("transfer", "test")}


@dataclass(frozen=True)
class Job:
    """What a process needs to know."""

    work: Path
    device: str
    settings: Settings
    targets: tuple[str, ...]
    rooms: Mapping[str, str]

    def recipe(self, entry: Entry) -> str:
        """What determines a source's losses."""
        sidecar = entry.path.with_name(f"{entry.path.stem}.onnxspace.toml")
        text = sidecar.read_text("utf-8") if sidecar.exists() else ""
        said = {"version": VERSION, "file": ox.open_model(entry.path).sha256, "sidecar": text, "rooms": self.rooms}
        return digest_recipe(
            {**said, "settings": asdict(self.settings), "targets": [asdict(TASKS[name]) for name in self.targets]}
        )

    def losses(self, entry: Entry) -> Losses:
        """Of every target and seed with one source, float64 [targets, seeds], kept in the work folder."""
        kept, name = Cache(self.work / "oracle"), f"{entry.name}-{self.settings.readout}"
        return kept.get(name, self.recipe(entry), lambda: {"losses": self._measure(entry)})["losses"]

    def _measure(self, entry: Entry) -> Losses:
        return transfers.measure_source(entry, self.work, self.device, self.settings, self.targets)


def _measure_each(job: Job, sources: Sequence[Entry], workers: int | None) -> Iterator[Losses]:
    """The losses of one source after the other."""
    count = 1 if choose_device(job.device).type == "cuda" else min(workers or os.cpu_count() or 1, len(sources))
    if count <= 1:
        yield from map(job.losses, sources)
        return
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        running = [pool.submit(job.losses, entry) for entry in sources]
        try:
            for each in running:
                yield each.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _write_losses(target: Path, targets: Sequence[str], found: Mapping[str, Losses]) -> None:
    with whole_file(target) as partial, partial.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("target", "source", "seed", "loss"))
        for place, name in enumerate(targets):
            for source, values in found.items():
                out.writerows((name, source, seed, f"{loss:.5f}") for seed, loss in enumerate(values[place]))


@dataclass(frozen=True, eq=False)
class Table:
    """Losses of `oracle.csv`: float64 [targets, sources, seeds], NaN where a row is missing."""

    targets: tuple[str, ...]
    sources: tuple[str, ...]
    losses: Losses

    @classmethod
    def read(cls, path: Path) -> Table:
        """The table in a file that `measure` wrote."""
        with path.open(newline="", encoding="utf-8") as file:
            rows = [(row["target"], row["source"], int(row["seed"]), float(row["loss"])) for row in csv.DictReader(file)]
        targets, sources = tuple(dict.fromkeys(row[0] for row in rows)), tuple(dict.fromkeys(row[1] for row in rows))
        losses = np.full((len(targets), len(sources), 1 + max(row[2] for row in rows)), np.nan)
        for target, source, seed, loss in rows:
            losses[targets.index(target), sources.index(source), seed] = loss
        return cls(targets, sources, losses)

    def write_matrix(self, path: Path) -> None:
        """Means over seeds as `onnxspace evaluate --oracle` takes them: targets down, sources across, 1 − loss."""
        with whole_file(path) as partial, partial.open("w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(("target", *self.sources))
            for name, row in zip(self.targets, 1.0 - self.losses.mean(2), strict=True):
                out.writerow((name, *(f"{value:.5f}" for value in row)))

    def candidates(self, wanted: Callable[[str], bool] = lambda _name: True) -> NDArray[np.bool_]:
        """Sources that a target may choose from, bool [targets, sources]: `wanted` by name, and not the target's own model."""
        return np.array([[wanted(source) and source != target for source in self.sources] for target in self.targets])


@dataclass(frozen=True)
class Noise:
    """How well some seeds' ranking of the sources tells others': means over targets and draws. `precision` is P@1 … P@5."""

    precision: tuple[float, ...]
    tau: float


def measure_ceiling(losses: Losses, candidates: NDArray[np.bool_], told: int = 1, draws: int = 20) -> Noise:
    """What the oracle says of itself: the mean over `told` seeds as a prediction of the mean over all others.

    `losses` float64 [targets, sources, seeds], `candidates` bool [targets, sources]. The relevant sources are the best five, as in
    `onnxspace.evaluation`. Each draw divides the seeds anew; where there are no more than `draws` ways, as with one seed, every seed
    has its turn. Nobody who predicts the oracle from one draw of labels can be expected to do better. Raises ValueError where
    no seed is left to be predicted.
    """
    seeds = losses.shape[2]
    if not 1 <= told < seeds:
        raise ValueError(f"{told} of {seeds} seeds leave none to be predicted.")
    found = [_predict_rest(losses, candidates, some) for some in _divide_seeds(seeds, told, draws)]
    mean = np.mean(found, axis=0)
    return Noise(tuple(float(value) for value in mean[:-1]), float(mean[-1]))


def _divide_seeds(seeds: int, told: int, draws: int) -> list[NDArray[np.intp]]:
    if told == 1:
        return [np.array([seed]) for seed in range(seeds)]
    return [np.random.default_rng((draw, told)).permutation(seeds)[:told] for draw in range(draws)]


def _predict_rest(losses: Losses, candidates: NDArray[np.bool_], some: NDArray[np.intp]) -> Losses:
    """P@1 … P@5 and weighted tau, a mean over targets."""
    rest = np.setdiff1d(np.arange(losses.shape[2]), some)
    found = []
    for values, allowed in zip(losses, candidates, strict=True):
        predicted, truth = (-values[allowed][:, side].mean(1) for side in (some, rest))
        counts = np.arange(1, 6)
        found.append([*(hits(relevance(truth), predicted)[:5] / counts), weighted_tau(predicted, truth)])
    mean: Losses = np.mean(found, axis=0)
    return mean


def compare_rankings(one: Table, other: Table) -> dict[str, float]:
    """Weighted tau of two oracles' rankings of the sources they share, by target that both have."""
    sources = [name for name in one.sources if name in other.sources]
    sides = [[table.sources.index(name) for name in sources] for table in (one, other)]
    found = {}
    for target in (name for name in one.targets if name in other.targets):
        rows = [
            table.losses[table.targets.index(target), side].mean(1) for table, side in zip((one, other), sides, strict=True)
        ]
        free = [place for place, name in enumerate(sources) if name != target]
        found[target] = weighted_tau(-rows[0][free], -rows[1][free])
    return found
