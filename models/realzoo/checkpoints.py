"""Trained networks in the cache: made where they aren't there yet, each with what it reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from models.realzoo.data.pool import Part
from models.realzoo.data.tasks import TASKS, load
from models.realzoo.networks import Network, build_network
from models.realzoo.training import Schedule, measure_accuracy, train
from models.realzoo.zoo import SOURCES, Source, preprocess
from onnxspace.storage.atomic import whole_file

Say = Callable[[str], None]
PASSES = {"well": 100_000, "barely": 1500, "shuffled labels": 60_000, "none": 0}
#: What learns more slowly sees more.
LONGER = {"shapes-vit": 2.5}
RATES = {"residual": 3e-3, "plain": 3e-3, "bare": 2e-3, "depthwise": 4e-3, "vit": 2e-3}
#: The user's own network for each target: architecture by the target's place, normalisation and rate as of the sources.
TARGET_ARCHITECTURES = ("plain", "residual", "depthwise", "bare")
TARGET_EPOCHS = 40


@dataclass(frozen=True)
class Record:
    """What a network reached: accuracy on test images of its own task, and the commonest class's share of them."""

    accuracy: float
    chance: float


def seed_of(name: str) -> int:
    """A seed for a network, from its name."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(name))


def schedule_source(source: Source, count: int) -> Schedule:
    """So many epochs that the network sees as many images as others, whatever its task has."""
    passes = PASSES[source.training] * LONGER.get(source.name, 1.0)
    return Schedule(max(1, round(passes / count)) if passes else 0, 64, RATES[source.architecture])


def train_source(source: Source, work: Path) -> Record:
    """Train one source, unless it is in the cache."""
    file = work / "weights" / f"{source.name}.pt"
    if file.exists():
        return read_record(file)
    split = load(source.task, work)
    images, labels = limit(split.source, source)
    network = build_network(source.architecture, len(split.classes), seed_of(source.name))
    train(network, preprocess(images, source.preprocessing), labels, schedule_source(source, len(labels)), seed_of(source.name))
    return _keep(network, source.preprocessing, split.test, file)


def limit(part: Part, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """The images that a source sees: 1,500 where it is barely trained; labels shuffled where it is to learn nothing."""
    rng = np.random.default_rng(seed_of(source.name))
    rows = rng.permutation(len(part.labels))
    if source.training == "barely":
        rows = rows[: PASSES["barely"]]
    labels = part.labels[rows]
    return part.images[rows], rng.permutation(labels) if source.training == "shuffled labels" else labels


def name_target(target: str) -> tuple[str, str]:
    """Architecture and preprocessing of a target's own network."""
    place = [name for name, task in TASKS.items() if task.target].index(target)
    return TARGET_ARCHITECTURES[place % 4], ("symmetric", "imagenet", "unit")[place % 3]


def train_target(target: str, work: Path) -> Record:
    """Train the user's own network on a target's 300 images from scratch, unless it is in the cache."""
    file = work / "weights" / f"target-{target}.pt"
    if file.exists():
        return read_record(file)
    split, (architecture, preprocessing) = load(target, work), name_target(target)
    network = build_network(architecture, len(split.classes), seed_of(target))
    schedule = Schedule(TARGET_EPOCHS, 32, RATES[architecture])
    train(network, preprocess(split.train.images, preprocessing), split.train.labels, schedule, seed_of(target))
    return _keep(network, preprocessing, split.test, file)


def train_one(kind: str, name: str, work: str) -> str:
    """Train one network, a "source" or a "target", in a process of its own; gives a line for the log."""
    torch.set_num_threads(1)
    record = train_source(SOURCES[name], Path(work)) if kind == "source" else train_target(name, Path(work))
    return f"train: {kind} {name}, accuracy {record.accuracy:.3f} (chance {record.chance:.3f})"


def _keep(network: Network, preprocessing: str, test: Part, file: Path) -> Record:
    found = measure_accuracy(network, preprocess(test.images, preprocessing), test.labels)
    record = Record(round(found, 4), round(float(np.bincount(test.labels).max() / len(test.labels)), 4))
    with whole_file(file.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(asdict(record)), "utf-8")
    with whole_file(file) as partial:
        torch.save(network.state_dict(), partial)
    return record


def read_record(file: Path) -> Record:
    """What a kept network reached."""
    return Record(**json.loads(file.with_suffix(".json").read_text("utf-8")))


def load_source(name: str, work: Path) -> Network:
    """The original network of a source, batch normalisation live, in eval mode."""
    source = SOURCES[name]
    return _restore(source.architecture, work / "weights" / f"{name}.pt")


def load_target(target: str, work: Path) -> Network:
    """The user's own network of a target."""
    return _restore(name_target(target)[0], work / "weights" / f"target-{target}.pt")


def _restore(architecture: str, file: Path) -> Network:
    state = torch.load(file, weights_only=True)
    network = build_network(architecture, len(state["head.bias"]))
    network.load_state_dict(state)
    return network.eval()
