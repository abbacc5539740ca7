"""Rankings of the sources by each kind of evidence, through the public interface as a user calls it: `rankings/*.csv`.

A user has 300 pictures of the task, as the target's own network is given them; labels where they are one thing per picture.
Sources are the networks of the main architecture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import onnxspace as ox
from models.minitaskonomy.oracle.sampling import draw_rooms, name_input
from models.minitaskonomy.rooms.dataset import Rooms
from models.minitaskonomy.tasks import OBJECTS, SCENES, TASKS, Task
from models.minitaskonomy.zoo import list_entries
from models.realzoo.rank import GENERATED, LABELS, PICTURES, write_ranking
from onnxspace.inputs.probes import Probes

Values = Mapping[str, float]
#: By the ranking's name, by target.
Rankings = dict[str, dict[str, Values]]
IMAGES = 300
#: Targets whose labels a command takes: one class per picture.
NAMES = {"object": OBJECTS, "scene": SCENES}
STAGES = ("generated", "pictures", "labels", "finetune", "answers")


@dataclass(frozen=True)
class Material:
    """The ONNX files of the main models, and the rendered rooms of the transfer split; `work` is for folders of pictures."""

    models: Sequence[Path]
    rooms: Rooms
    work: Path

    @property
    def targets(self) -> list[str]:
        return [path.stem for path in self.models]

    def others(self, target: str) -> list[Path]:
        """The sources of a target."""
        return [path for path in self.models if path.stem != target]

    def pictures(self, task: Task) -> NDArray[np.uint8]:
        """Uint8 [300, 64, 64, 3], as the task's network is given them."""
        shown = self.rooms.inputs(task)[draw_rooms(0, IMAGES)]
        return np.ascontiguousarray(shown.transpose(0, 2, 3, 1))

    def labelled(self, target: str) -> Path:
        """A folder of the same pictures by class."""
        folder, task = self.work / "labelled" / target, TASKS[target]
        classes = np.asarray(self.rooms.targets(task))[draw_rooms(0, IMAGES)]
        for number, (image, label) in enumerate(zip(self.pictures(task), classes, strict=True)):
            file = folder / NAMES[target][label] / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
        return folder


def rank_by_generated(material: Material) -> Rankings:
    """Scores of two networks and generated images: no picture of the task."""
    found = ox.score(material.models, by=GENERATED)
    return {f"generated {score}": _read_rows(found, score, material.targets) for score in GENERATED}


def rank_by_pictures(material: Material) -> Rankings:
    """Scores of two networks and pictures of the task; targets that are given the same pictures have them together."""
    ranked: Rankings = {f"pictures {score}": {} for score in PICTURES}
    for kind in dict.fromkeys(name_input(TASKS[name]) for name in material.targets):
        wanted = [name for name in material.targets if name_input(TASKS[name]) == kind]
        found = ox.score(material.models, Probes(kind, material.pictures(TASKS[wanted[0]])), by=PICTURES)
        for score in PICTURES:
            ranked[f"pictures {score}"] |= _read_rows(found, score, wanted)
    return ranked


def _read_rows(found: ox.Affinity, score: str, targets: Sequence[str]) -> dict[str, Values]:
    matrix, names = np.asarray(found.scores[score]), list(found.names)
    return {
        target: {
            source: float(value) for source, value in zip(names, matrix[names.index(target)], strict=True) if source != target
        }
        for target in targets
    }


def rank_by_labels(material: Material) -> Rankings:
    """The default ranking by labels, and each of its scores."""
    ranked: Rankings = {}
    for target in NAMES:
        found = ox.rate(material.others(target), material.labelled(target))
        ranked.setdefault("labels", {})[target] = {one.source: -float(one.place) for one in found.ranked}
        for score in LABELS:
            ranked.setdefault(f"labels {score}", {})[target] = dict(zip(found.names, found.values[score], strict=True))
    return ranked


def rank_by_finetuning(material: Material) -> Rankings:
    """Fine-tuning in small on the labels, halving alone."""
    found = {target: ox.rank_finetuned(material.others(target), material.labelled(target)) for target in NAMES}
    return {"finetune": {target: {one.record.name: one.value for one in each.models} for target, each in found.items()}}


def rank_by_answers(material: Material, targets: Sequence[str] = ()) -> Rankings:
    """Fine-tuning in small on the answers of the target's own network, for targets with a truth by fine-tuning."""
    from models.minitaskonomy.oracle.finetuned import TARGETS

    ranked: dict[str, Values] = {}
    for target in targets or TARGETS:
        own = next(path for path in material.models if path.stem == target)
        pictures = Probes(target, material.pictures(TASKS[target]))
        found = ox.rank_by_answers(str(own), list(material.models), pictures)
        ranked[target] = {one.record.name: one.value for one in found.models}
    return {"finetune answers": ranked}


RANK: Mapping[str, Callable[[Material], Rankings]] = {
    "generated": rank_by_generated, "pictures": rank_by_pictures, "labels": rank_by_labels, "finetune": rank_by_finetuning,
    "answers": rank_by_answers,
}  # fmt: skip


def rank_all(work: Path, folder: Path, stages: Sequence[str] = STAGES) -> Iterator[Path]:
    """Rank the sources of every target in each of `stages`; yields the CSV files (target, source, value) in `folder / "rankings"`."""
    models = [one.path for one in list_entries(folder, list(TASKS)) if one.main]
    material = Material(models, Rooms.load(work, "transfer"), work)
    for stage in stages:
        for name, targets in RANK[stage](material).items():
            rows = [(target, *pair) for target, values in targets.items() for pair in values.items()]
            yield write_ranking(folder / "rankings" / f"{name}.csv", rows)
