"""Rendered rooms on disk, and what a task's network is given and asked."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.minitaskonomy.rooms import filters, furniture, generator, intersections, labels, raycast, scene
from models.minitaskonomy.rooms.digest import digest
from models.minitaskonomy.tasks import OFFSETS, SEMANTICS, SIZE, TASKS, Task

SPLITS = {"train": (1, 8000), "validation": (2, 500), "transfer": (3, 2000), "test": (4, 1000), "probes": (5, 512)}
SEEN = 0.02  # share of the image that the main piece of furniture must cover; rooms with less are drawn again
TRIES, BATCH, NOISE, HOLES = 12, 32, 0.2, 3
FIELDS = tuple(name for name in TASKS if name not in ("autoencoding", "denoising", "inpainting", "colorization"))

Progress = Callable[[str, int, int], None]


def digest_split(split: str) -> str:
    """What determines a split's content, as a hash."""
    modules = (Path(str(module.__file__)) for module in (scene, generator, furniture, intersections, raycast, filters, labels))
    return digest([SPLITS[split], SEEN, TRIES, SIZE, SEMANTICS, OFFSETS], modules)


def render_batch(seed: int, numbers: range, device: str = "cpu") -> dict[str, np.ndarray]:
    """Rooms `numbers` of a seed: `image` uint8[n, 64, 64, 3] and every field; a room depends on seed and number alone."""
    drawn = [generator.draw(np.random.default_rng([seed, n, 0])) for n in numbers]
    found = raycast.render(drawn, device)
    for attempt in range(1, TRIES):
        poor = (labels.measure_coverage(found["semantic"]).amax(1) < SEEN).nonzero()[:, 0].tolist()
        if not poor:
            break
        again = [generator.draw(np.random.default_rng([seed, numbers[n], attempt])) for n in poor]
        for name, value in raycast.render(again, device).items():
            found[name][poor] = value
        for n, room in zip(poor, again, strict=True):
            drawn[n] = room
    image = (found["image"] * 255).round().byte().cpu().numpy()
    return {"image": image} | labels.compute_labels(drawn, found)


def write_split(folder: Path, split: str, device: str, progress: Progress) -> None:
    """Render a split into `folder`, which appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{split}.") as beside:
        partial = Path(beside) / split
        partial.mkdir()
        _render_into(partial, split, device, progress)
        (partial / "recipe").write_text(digest_split(split))
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)


def _render_into(folder: Path, split: str, device: str, progress: Progress) -> None:
    seed, count = SPLITS[split]
    files: dict[str, np.memmap[Any, Any]] = {}
    for start in range(0, count, BATCH):
        numbers = range(start, min(start + BATCH, count))
        for name, value in render_batch(seed, numbers, device).items():
            if name not in files:
                shape = (count, *value.shape[1:])
                files[name] = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=value.dtype, shape=shape)
            files[name][numbers.start : numbers.stop] = value
        progress(f"rooms of {split}", numbers.stop, count)
    for one in files.values():
        one.flush()


class Rooms:
    """One rendered split, memory-mapped."""

    def __init__(self, folder: Path, split: str, moments: dict[str, Any]) -> None:
        self.split, self.moments = split, moments
        self.fields = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", *FIELDS)}

    @classmethod
    def load(cls, work: Path, split: str, device: str = "cpu", progress: Progress = lambda *_: None) -> Rooms:
        """Open a split of the work folder; it is rendered first where it is missing or was made by other code."""
        for name in dict.fromkeys(("train", split)):
            folder = work / "rooms" / name
            if not (folder / "recipe").exists() or (folder / "recipe").read_text() != digest_split(name):
                write_split(folder, name, device, progress)
        return cls(work / "rooms" / split, split, load_moments(work / "rooms" / "train"))

    def __len__(self) -> int:
        return len(self.fields["image"])

    def images(self) -> np.ndarray:
        """The pictures, uint8[n, 64, 64, 3]."""
        return np.asarray(self.fields["image"])

    def inputs(self, task: Task) -> np.ndarray:
        """What the task's network is given, uint8[n, 3, 64, 64]: the picture, or a grey, noisy or holed copy."""
        pictures = self.images().transpose(0, 3, 1, 2)
        if task.name == "colorization":
            grey = (pictures * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
            return np.repeat(np.rint(grey).astype(np.uint8), 3, 1)
        change = {"denoising": add_noise, "inpainting": cut_holes}.get(task.name)
        return np.ascontiguousarray(pictures) if change is None else change(pictures, SPLITS[self.split][0])

    def raw(self, task: Task) -> np.ndarray:
        """Labels as drawn: floats before they are standardised, or classes."""
        return _read_raw(self.fields, task)

    def targets(self, task: Task) -> np.ndarray:
        """float32[n, c, 64, 64] or [n, k], each channel of mean 0 and variance 1 over the training split; int64 for classes."""
        values = self.raw(task)
        if task.kind not in ("image", "vector"):
            return values.astype(np.int64)
        mean, std = (np.array(self.moments[task.name][key], np.float32) for key in ("mean", "std"))
        shape = (1, -1, *(1,) * (values.ndim - 2))
        return (values.astype(np.float32) - mean.reshape(shape)) / std.reshape(shape)


def _read_raw(fields: dict[str, np.ndarray], task: Task) -> np.ndarray:
    if task.name in fields:
        return np.asarray(fields[task.name])
    image = np.asarray(fields["image"]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return convert_to_opponents(image) if task.name == "colorization" else image


def convert_to_opponents(image: np.ndarray) -> np.ndarray:
    """Colour without brightness, [n, 2, height, width]: red less green, and yellow less blue."""
    red, green, blue = np.moveaxis(image, 1, 0)
    return np.stack((red - green, (red + green) / 2 - blue), 1)


def load_moments(folder: Path) -> dict[str, Any]:
    """Mean and standard deviation of each channel of each continuous label over the training split, kept beside it."""
    kept = folder / "moments.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    fields = {name: np.load(folder / f"{name}.npy", mmap_mode="r")[:2000] for name in ("image", *FIELDS)}
    found = {}
    for task in TASKS.values():
        if task.kind in ("image", "vector"):
            values = _read_raw(fields, task).astype(np.float64)
            axes = (0, *range(2, values.ndim))
            found[task.name] = {"mean": values.mean(axes).tolist(), "std": (values.std(axes) + 1e-6).tolist()}
    partial = kept.with_suffix(".partial")
    partial.write_text(json.dumps(found))
    partial.replace(kept)
    return found


def add_noise(pictures: np.ndarray, seed: int) -> np.ndarray:
    """A copy with Gaussian noise of a fifth of the range."""
    rng = np.random.default_rng([seed, 101])
    rows = (one + rng.standard_normal(one.shape, np.float32) * (255 * NOISE) for one in pictures)
    return np.stack([np.clip(np.rint(row), 0, 255).astype(np.uint8) for row in rows])


def cut_holes(pictures: np.ndarray, seed: int) -> np.ndarray:
    """A copy with three grey rectangles of 12 to 28 pixels a side."""
    rng, result = np.random.default_rng([seed, 102]), pictures.copy()
    for one in result:
        for _ in range(HOLES):
            (high, wide), (top, left) = rng.integers(12, 29, 2), rng.integers(-6, SIZE - 12, 2)
            one[:, max(top, 0) : top + high, max(left, 0) : left + wide] = 128
    return result
