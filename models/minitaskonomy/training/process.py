"""What a training process is told: which network, how, and where to. One process trains one network, whatever its framework."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.minitaskonomy.training import checkpoints, metrics
from models.minitaskonomy.training.jobs import JOBS, Job, Settings

Array = NDArray[Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingResult:
    """What a framework gives back: how to save the weights, the answer to images uint8 [n, 3, 64, 64], the losses."""

    save: Callable[[Path], None]
    answer: Callable[[Array], Array]
    losses: list[float]
    precision: str = "float32"


@dataclass(frozen=True)
class LabelledImages:
    """Images uint8 [n, 3, 64, 64] as the task's network is given them, and its labels as `dataset.Rooms.targets` gives them."""

    images: Array
    labels: Array


@dataclass(frozen=True)
class Order:
    """One network to be trained. `recipe` is what `checkpoints.describe_recipe` says of it."""

    job: Job
    settings: Settings
    work: Path
    device: str
    recipe: Mapping[str, Any]

    def text(self) -> str:
        """As one argument of a command line."""
        said = {"name": self.job.name, "settings": asdict(self.settings), "work": str(self.work), "device": self.device}
        return json.dumps({**said, "recipe": self.recipe})

    @classmethod
    def parse(cls, text: str) -> Order:
        said = json.loads(text)
        return cls(JOBS[said["name"]], Settings(**said["settings"]), Path(said["work"]), said["device"], said["recipe"])


Train = Callable[[Order, LabelledImages, Say], TrainingResult]


def run_order(learn: Train, text: str) -> None:
    """Train as ordered, and keep the network with its score on the validation rooms."""
    order = Order.parse(text)
    train_and_store(order, learn, load_labelled(order, "train"), load_labelled(order, "validation"), _print_line)


def train_and_store(order: Order, learn: Train, seen: LabelledImages, unseen: LabelledImages, say: Say) -> None:
    """Train on `seen`, measure on `unseen`, keep both."""
    began, task = time.monotonic(), order.job.task
    learnt = learn(order, seen, lambda line: say(f"{order.job.name}: {line}"))
    seconds = time.monotonic() - began
    score = metrics.score(task.kind, learnt.answer(unseen.images), unseen.labels)
    record = {
        "recipe": order.recipe,
        "losses": learnt.losses,
        "score": score,
        "chance": metrics.score_chance(task.kind, unseen.labels),
    }
    record |= {"precision": learnt.precision, "seconds": round(seconds, 1)}
    checkpoints.write_checkpoint(checkpoints.locate_weights(order.work, order.job), learnt.save, record)
    say(f"{order.job.name}: score {score:.3f}, chance {record['chance']:.3f}, after {seconds:.0f} s")


def load_labelled(order: Order, split: str) -> LabelledImages:
    """The rooms of a split as this task sees them."""
    from models.minitaskonomy.rooms.dataset import Rooms, load_moments

    folder = order.work / "rooms"  # opened without another look at the recipe: who gave the order has looked
    rooms = Rooms(folder / split, split, load_moments(folder / "train"))
    upto = order.settings.rooms if split == "train" else None
    return LabelledImages(np.asarray(rooms.inputs(order.job.task)[:upto]), np.asarray(rooms.targets(order.job.task)[:upto]))


def draw_batches(count: int, order: Order, epoch: int) -> Array:
    """Rows of each batch of an epoch, in an order that the network's name decides: int64 [steps, batch]."""
    size = min(order.settings.batch, count)
    steps = count // size
    shuffled = np.random.default_rng((order.job.seed, epoch)).permutation(count)
    return shuffled[: steps * size].reshape(steps, size)


def count_steps(count: int, settings: Settings) -> int:
    """All steps of a training on `count` images."""
    return settings.epochs * (count // min(settings.batch, count))


def compute_rate(step: int, steps: int, settings: Settings) -> float:
    """The learning rate: a rise over the first tenth of the steps, then half a cosine down."""
    rise = max(1, steps // 10)
    if step < rise:
        return settings.rate * (step + 1) / rise
    return settings.rate * 0.5 * (1.0 + float(np.cos(np.pi * (step - rise) / max(1, steps - rise))))


def add_noise(images: Array, settings: Settings, rng: np.random.Generator) -> Array:
    """Images uint8 [n, 3, 64, 64] as the channels-last frameworks train on them: float32 [n, 64, 64, 3] in −1..1, noisy."""
    x = images.transpose(0, 2, 3, 1).astype(np.float32) / 127.5 - 1.0
    strength = rng.random((len(x), 1, 1, 1), np.float32) * settings.noise
    return x + rng.standard_normal(x.shape, np.float32) * strength


def format_epoch(epoch: int, settings: Settings, loss: float) -> str:
    """A line of progress."""
    return f"epoch {epoch + 1} of {settings.epochs}, loss {loss:.4f}"


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
