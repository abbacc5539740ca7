"""The true transfers: how well a small readout on each source's frozen encoder learns each target from a few labels.

As in Taskonomy (Zamir et al., CVPR 2018) the encoder is frozen, the readout is small, and labels are few; as for any user, the
encoder is the one in the ONNX file, run by ONNX Runtime. The loss on rooms that nobody was trained on is a share: 1 is what
knowing nothing gets, 0 is perfect.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import onnxspace as ox
from models.minitaskonomy.cache import Cache, digest_recipe
from models.minitaskonomy.oracle import transfers
from models.minitaskonomy.oracle.processes import measure_each
from models.minitaskonomy.oracle.sampling import Settings
from models.minitaskonomy.oracle.table import Losses
from models.minitaskonomy.oracle.transfers import choose_device
from models.minitaskonomy.tasks import TASKS, Task
from models.minitaskonomy.training.process import Say
from models.minitaskonomy.zoo import Entry, list_entries
from onnxspace.storage.atomic import whole_file

#: Raise it when losses come out otherwise for another reason than the settings.
VERSION = 1


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
    yield from measure_each([partial(job.losses, entry) for entry in sources], count)


def _write_losses(target: Path, targets: Sequence[str], found: Mapping[str, Losses]) -> None:
    with whole_file(target) as partial, partial.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("target", "source", "seed", "loss"))
        for place, name in enumerate(targets):
            for source, values in found.items():
                out.writerows((name, source, seed, f"{loss:.5f}") for seed, loss in enumerate(values[place]))
