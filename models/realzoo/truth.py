"""What each transfer truly reaches: accuracy on test images after full fine-tuning, and of a linear readout.

Fine-tuning is of the original network of PyTorch, not of its ONNX file: batch normalisation in training mode, every weight, a
new head. The readout is multinomial logistic regression on the frozen encoder's features.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from models.realzoo.checkpoints import Say, load_source
from models.realzoo.data.pool import Split
from models.realzoo.data.tasks import TARGETS, load
from models.realzoo.training import Array, Schedule, encode, measure_accuracy, train
from models.realzoo.zoo import SOURCES, preprocess
from onnxspace.storage.atomic import whole_file

SEEDS = (0, 1, 2)
#: 9 epochs of 300 images. `compare_rates` is a little better with 0.01, with which networks without normalisation lose.
FINE_TUNING = Schedule(epochs=9, batch=32, rate=6e-3)
RATES = (1e-3, 3e-3, 6e-3, 1e-2)
#: The readout of a seed sees so many of the 300 images: what the choice of images does is part of its noise.
READ = 270
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
HEAD = ("target", "source", "seed", "finetuned", "frozen")


@dataclass(frozen=True)
class Outcome:
    """Accuracies on the test images of a target, of one source and seed."""

    target: str
    source: str
    seed: int
    finetuned: float
    frozen: float


def fine_tune(source: str, split: Split, work: Path, seed: int, schedule: Schedule = FINE_TUNING) -> float:
    """Accuracy on the test images after training all layers on the 300."""
    network, kind = load_source(source, work), SOURCES[source].preprocessing
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 + seed)
        network.head = nn.Linear(network.features, len(split.classes))
    train(network, preprocess(split.train.images, kind), split.train.labels, schedule, 1000 + seed)
    return measure_accuracy(network, preprocess(split.test.images, kind), split.test.labels)


def read_out(train_features: Array, test_features: Array, split: Split, seed: int) -> float:
    """Accuracy of logistic regression on features of 270 of the 300 images; its penalty is chosen by three folds."""
    rows = np.random.default_rng(seed).permutation(len(train_features))[:READ]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=150))
    folds = StratifiedKFold(3, shuffle=True, random_state=seed)
    search = GridSearchCV(model, {"logisticregression__C": PENALTIES}, cv=folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a rare class with fewer images than folds; a fit stopped early
        search.fit(train_features[rows], split.train.labels[rows])
    return float((search.predict(test_features) == split.test.labels).mean())


def measure_pair(target: str, source: str, seed: int, work: Path, split: Split) -> Outcome:
    """One seed of one transfer."""
    network, kind = load_source(source, work), SOURCES[source].preprocessing
    seen, judged = (encode(network, preprocess(part.images, kind)) for part in (split.train, split.test))
    return Outcome(target, source, seed, fine_tune(source, split, work, seed), read_out(seen, judged, split, seed))


def list_pairs() -> Iterator[tuple[str, str]]:
    """Every target and source, but for sources of the target's own task."""
    return ((target, name) for target in TARGETS for name, source in SOURCES.items() if source.task != target)


def measure_target(target: str, seed: int, work: str) -> int:
    """All pairs of a target and a seed that are not in the cache; gives how many there were."""
    torch.set_num_threads(1)
    folder, split, done = Path(work), load(target, Path(work)), 0
    for _, source in (pair for pair in list_pairs() if pair[0] == target):
        file = locate(folder, target, source, seed)
        if not file.exists():
            write(file, [measure_pair(target, source, seed, folder, split)])
            done += 1
    return done


def locate(work: Path, target: str, source: str, seed: int) -> Path:
    """The file of one outcome in the cache."""
    return work / "truth" / f"{target} {source} {seed}.csv"


def measure_all(work: Path, to: Path, processes: int, say: Say = print) -> None:
    """Measure what is not in the cache, seed after seed, a target for each process, and write `to / "truth.csv"`."""
    wanted = [(target, seed, str(work)) for seed in SEEDS for target in TARGETS]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for (target, seed, _), done in zip(wanted, pool.map(measure_target, *zip(*wanted, strict=True)), strict=True):
            say(f"truth: {target}, seed {seed}, {done} new")
    collect(work, to)


def collect(work: Path, to: Path) -> None:
    """Write the table of all pairs and seeds; those that are not in the cache yet are left out."""
    files = (locate(work, *pair, seed) for pair in list_pairs() for seed in SEEDS)
    write(to / "truth.csv", [one for file in files if file.exists() for one in read(file)])


def write(file: Path, outcomes: Iterable[Outcome]) -> None:
    """A CSV file; accuracies to four decimals."""
    with whole_file(file) as partial, partial.open("w", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(HEAD)
        lines.writerows((one.target, one.source, one.seed, f"{one.finetuned:.4f}", f"{one.frozen:.4f}") for one in outcomes)


def read(file: Path) -> list[Outcome]:
    """What `write` wrote."""
    with file.open(newline="") as stream:
        return [
            Outcome(row["target"], row["source"], int(row["seed"]), float(row["finetuned"]), float(row["frozen"]))
            for row in csv.DictReader(stream)
        ]


def compare_rates(work: Path, tasks: tuple[str, ...] = ("patterns", "turns"), every: int = 3) -> dict[float, float]:
    """Mean accuracy of every third source for each rate, on two tasks that are no targets."""
    splits = {task: load(task, work) for task in tasks}
    return {
        rate: float(
            np.mean(
                [
                    fine_tune(name, split, work, 0, Schedule(FINE_TUNING.epochs, FINE_TUNING.batch, rate))
                    for task, split in splits.items()
                    for name in list(SOURCES)[::every]
                    if SOURCES[name].task != task
                ]
            )
        )
        for rate in RATES
    }
