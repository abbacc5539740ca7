"""The fine-tuned transfers of a part of the pairs: `finetuned.csv`, and `finetuned.json`, which says of what and how.

Sources are the twenty networks of one architecture, targets ten: eight that say something of every pixel, two of classes. (On those
of numbers per image, the readout of 18 thousand weights learned nothing in so few steps.) A target's own network is left out.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models.minitaskonomy.cache import Cache, digest_recipe
from models.minitaskonomy.oracle import finetuning, originals, sampling
from models.minitaskonomy.oracle.finetuning import FineTuning
from models.minitaskonomy.oracle.processes import measure_each
from models.minitaskonomy.oracle.sampling import load_split
from models.minitaskonomy.tasks import TASKS
from models.minitaskonomy.training.process import Say
from models.minitaskonomy.zoo import Entry, list_entries
from onnxspace.errors import ModelError
from onnxspace.storage.atomic import whole_file

#: Raise it when losses come out otherwise for another reason than the settings.
VERSION = 1
TARGETS = ("autoencoding", "denoising", "edges2d", "segment2d", "depth", "normals", "curvature", "semantic", "object", "scene")
#: Rooms from which a source learned, for the statistics of its normalisation; what may differ from the file at most.
STATISTICS, TOLERANCE = 1000, 1e-3
HEAD = ("target", "source", "seed", "loss")


@dataclass(frozen=True)
class Settings:
    """Which rooms, as `sampling.Settings`, and how on them."""

    seeds: int = 2
    labelled: int = 200
    images: int = 800
    how: FineTuning = field(default_factory=FineTuning)

    def size(self, target: str) -> int:
        """How many labelled rooms a target gets."""
        return self.labelled if sampling.is_dense(TASKS[target]) else self.images


@dataclass(frozen=True)
class Job:
    """All seeds of the transfers from one source; a pair and seed is kept in `work / "finetuned"`."""

    work: Path
    source: Entry
    targets: tuple[str, ...]
    settings: Settings
    rooms: dict[str, str]

    def measure(self) -> dict[str, list[float]]:
        """Losses of each target but the source's own, by seed."""
        others = [name for name in self.targets if name != self.source.name]
        return {name: [self._keep(name, seed) for seed in range(self.settings.seeds)] for name in others}

    def _keep(self, target: str, seed: int) -> float:
        kept, name = Cache(self.work / "finetuned"), f"{target}-{self.source.name}-{seed}"
        return float(kept.get(name, self._recipe(target), lambda: {"loss": np.array(self._measure(target, seed))})["loss"])

    def _recipe(self, target: str) -> str:
        said = {"version": VERSION, "file": digest_file(self.source.path), "rooms": self.rooms, "lengths": originals.LENGTHS}
        return digest_recipe({**said, "settings": asdict(self.settings), "target": asdict(TASKS[target])})

    def _measure(self, target: str, seed: int) -> float:
        task, kind = TASKS[target], sampling.name_input(TASKS[target])
        rows = tuple(sampling.draw_rooms(seed, self.settings.size(target)).tolist())
        few, test = (load_split(self.work, *which) for which in (("transfer", (target,), rows), ("test", (target,), None)))
        parts = [(split.inputs[kind], split.answers[target]) for split in (few, test)]
        return finetuning.measure_loss(load_source(self.work, self.source), task, parts[0], parts[1], seed, self.settings.how)


@cache
def load_source(work: Path, source: Entry) -> nn.Module:
    """The original network's encoder, held against the file. Raises ModelError where they differ."""
    rooms = load_split(work, "train", (source.task,), tuple(range(STATISTICS)))
    images = rooms.inputs[sampling.name_input(TASKS[source.task])]
    encoder = originals.load_original(source.path, finetuning.to_network(images))
    if (off := originals.compare_with_file(encoder, source.path, images[:50])) > TOLERANCE:
        raise ModelError(f"{source.path}: its weights in PyTorch give features that differ by {off:.1e}. Export it anew.")
    return encoder


def digest_file(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def measure(
    work: Path, folder: Path, *, settings: Settings | None = None, targets: Sequence[str] = TARGETS, workers: int | None = None,
    say: Say = print,
) -> Path:  # fmt: skip
    """Write `folder / "finetuned.csv"` (target, source, seed, loss) and `finetuned.json`; what is kept is not measured again.

    `workers` processes of one thread each share the sources, by default one per core. Raises ModelError where a file can't be
    read back into a network of PyTorch.
    """
    chosen, rooms = settings or Settings(), _render_rooms(work)
    sources = [one for one in list_entries(folder, list(TASKS)) if one.main]
    jobs = [Job(work.absolute(), one, tuple(targets), chosen, rooms) for one in sources]
    found: dict[str, dict[str, list[float]]] = {}
    for job, losses in zip(jobs, measure_each([job.measure for job in jobs], workers or os.cpu_count() or 1), strict=True):
        found[job.source.name] = losses
        say(f"{job.source.name}: {', '.join(f'{name} {np.mean(each):.2f}' for name, each in losses.items())}")
    _write_losses(folder / "finetuned.csv", targets, found)
    _write_manifest(folder / "finetuned.json", jobs, targets)
    return folder / "finetuned.csv"


def _render_rooms(work: Path) -> dict[str, str]:
    """What determines the rooms, which are rendered first where that is to be done."""
    from models.minitaskonomy.rooms import dataset

    for split in ("train", "transfer", "test"):
        dataset.Rooms.load(work, split)
    return {split: dataset.digest_split(split) for split in ("train", "transfer", "test")}


def _write_losses(file: Path, targets: Sequence[str], found: dict[str, dict[str, list[float]]]) -> None:
    with whole_file(file) as partial, partial.open("w", newline="") as stream:
        out = csv.writer(stream, lineterminator="\n")
        out.writerow(HEAD)
        for target in targets:
            for source, losses in found.items():
                out.writerows((target, source, seed, f"{loss:.5f}") for seed, loss in enumerate(losses.get(target, ())))


def _write_manifest(file: Path, jobs: Sequence[Job], targets: Sequence[str]) -> None:
    said: dict[str, Any] = {
        "settings": asdict(jobs[0].settings),
        "lengths": originals.LENGTHS,
        "rooms": jobs[0].rooms,
        "targets": list(targets),
        "sources": {job.source.name: digest_file(job.source.path) for job in jobs},
    }
    with whole_file(file) as partial:
        partial.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
