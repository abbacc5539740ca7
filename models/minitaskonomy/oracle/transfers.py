"""All transfers from one source: features of its frozen encoder, and what readouts on them make of every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import onnxspace as ox
from models.minitaskonomy.oracle import examples, readout, ridge, whole_image
from models.minitaskonomy.oracle.examples import Truths
from models.minitaskonomy.oracle.sampling import (
    Array,
    Settings,
    Split,
    draw_rooms,
    is_dense,
    list_drawn,
    load_split,
    name_input,
)
from models.minitaskonomy.tasks import TASKS, Task
from models.minitaskonomy.training.torch_trainer import prefers_bfloat16
from models.minitaskonomy.zoo import Entry, arrange_on_grid
from onnxspace.model.encoder import cut, find_encoder
from onnxspace.model.runtime import Runner

#: What some features are held with: labels of each target, in the order of the targets.
Examples = tuple[Tensor, Sequence[Tensor]]
_CHUNK = 100


def measure_source(entry: Entry, work: Path, device: str, settings: Settings, targets: tuple[str, ...]) -> Array:
    """Losses with one source, float64 [targets, seeds]. Raises ModelError where its file can't be run."""
    tasks = [TASKS[name] for name in targets]
    rows = list_drawn(settings.seeds, max(settings.size(task) for task in tasks))
    splits = load_split(work, "transfer", targets, tuple(rows.tolist())), load_split(work, "test", targets, None)
    found = np.empty((len(tasks), settings.seeds))
    for kind in dict.fromkeys(map(name_input, tasks)):
        places = sorted(
            (at for at, task in enumerate(tasks) if name_input(task) == kind), key=lambda at: tasks[at].kind != "image"
        )
        some = np.searchsorted(rows, list_drawn(settings.seeds, max(settings.size(tasks[at]) for at in places)))
        source = Source(settings, device, rows[some], *_compute_splits(entry, splits, kind, some))
        for group in ([at for at in places if is_dense(tasks[at])], [at for at in places if not is_dense(tasks[at])]):
            few = [[split.answers[targets[at]] for at in group] for split in splits]
            for seed in range(settings.seeds) if group else ():
                found[group, seed] = source.losses([tasks[at] for at in group], ([y[some] for y in few[0]], few[1]), seed)
    return found


def _compute_splits(entry: Entry, splits: tuple[Split, Split], kind: str, some: Array) -> tuple[Tensor, Tensor]:
    return compute_features(entry, splits[0].inputs[kind][some]), compute_features(entry, splits[1].inputs[kind])


def compute_features(entry: Entry, images: Array) -> Tensor:
    """What a source's encoder says of images uint8 [n, 64, 64, 3], on the grid: float32 [n, channels, 8, 8]."""
    model = ox.open_model(entry.path)
    runner = Runner(cut(model, find_encoder(model)), optimise=True)
    parts = [
        arrange_on_grid(np.asarray(runner({runner.input: model.preprocess(images[at : at + _CHUNK])})[0], np.float32))
        for at in range(0, len(images), _CHUNK)
    ]
    return torch.from_numpy(np.concatenate(parts))


def choose_device(device: str) -> torch.device:
    """The processor that a name stands for."""
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Source:
    """A source's features of one kind of input: of rooms `rows` of the transfer split, and of all test rooms."""

    settings: Settings
    device: str
    rows: Array
    seen: Tensor
    unseen: Tensor

    def losses(self, tasks: Sequence[Task], truths: tuple[Sequence[Tensor], Sequence[Tensor]], seed: int) -> Array:
        """Of targets that are all dense, or none; truths of the rows, and of the test rooms."""
        at = np.searchsorted(self.rows, draw_rooms(seed, self.settings.size(tasks[0])))
        place = choose_device(self.device)
        centre, spread = compute_moments(self.seen[at])
        few, test = (((values - centre) / spread).to(place) for values in (self.seen[at], self.unseen))
        return measure_losses(
            self.settings, tasks, (few, [y[at].to(place) for y in truths[0]]), (test, [y.to(place) for y in truths[1]]), seed
        )


def compute_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, at least a tenth of their mean: a channel that is hardly ever on is not blown up."""
    spread = features.std((0, 2, 3), keepdim=True)
    return features.mean((0, 2, 3), keepdim=True), spread.clamp(min=max(0.1 * float(spread.mean()), 1e-12))


def measure_losses(settings: Settings, tasks: Sequence[Task], few: Examples, test: Examples, seed: int) -> Array:
    """Losses [targets] of readouts that learn from `few` (features [n, c, 8, 8], labels of each target), on `test`.

    Targets are all dense, those whose labels are images first, or none of them is. A loss is a share: of the variance, or of the
    cross-entropy of the classes' shares among the labels; 1 knows nothing, 0 is perfect.
    """
    if not is_dense(tasks[0]):
        return np.array(
            [
                whole_image.measure_loss(task, (few[0], y), (test[0], z))
                for task, y, z in zip(tasks, few[1], test[1], strict=True)
            ]
        )
    half = settings.readout == "trained" and prefers_bfloat16(few[0].device)
    x = _prepare(few[0], half)
    if settings.readout == "linear":
        found = ridge.measure_losses(tasks, x, few[1], (_prepare(test[0], half), test[1]), 9 * few[0].shape[1])
        return found.cpu().numpy()
    best = readout.train(tasks, x, few[1], settings.budget, seed)
    said = [examples.compute_priors(task, truth) for task, truth in zip(tasks, few[1], strict=True)]
    return judge_readouts(best, test, said, half)


def _prepare(features: Tensor, half: bool) -> Tensor:
    return examples.gather_neighbourhoods(features.to(torch.bfloat16 if half else torch.float32))


def judge_readouts(best: readout.Readouts, test: Examples, said: Sequence[Tensor], half: bool) -> Array:
    """Losses on the test rooms, some at a time."""
    truths, summed = Truths.of(best.tasks, test[1]), list[list[Tensor]]()
    with torch.no_grad():
        for at in range(0, len(test[0]), _CHUNK):
            some = slice(at, at + _CHUNK)
            found = readout.sum_errors(best.tasks, best(_prepare(test[0][some], half)), truths[some])
            summed.append([error.double() for error in found])
    known = [examples.compute_reference(task, y, prior) for task, y, prior in zip(best.tasks, test[1], said, strict=True)]
    total = [torch.stack(column).sum(0) for column in zip(*summed, strict=True)]
    return np.array([float(examples.average_relative(error, r)) for error, r in zip(total, known, strict=True)])
