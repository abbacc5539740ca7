"""Scenes drawn from seeds (models/scenes.py) at 32 × 32, with one of their labels."""

from __future__ import annotations

from functools import cache

import numpy as np

from models.realzoo.data.pool import SIZE, SOURCE, TEST, TRAIN, Part, Split
from models.scenes import COLOURS, LIGHTS, MOST_OBJECTS, SHAPES, TEXTURES, scene

LABELS = {
    "shapes": ("shape", SHAPES),
    "colours": ("colour", COLOURS),
    "count": ("count", tuple(str(n + 1) for n in range(MOST_OBJECTS))),
    "light": ("light", tuple(str(n * 360 // LIGHTS) for n in range(LIGHTS))),
    "patterns": ("texture", TEXTURES),
}
SEED = 70
_ORDER = tuple(LABELS)


@cache
def draw_scenes(seed: int, first: int, last: int) -> tuple[dict[str, np.ndarray | int], ...]:
    """Scenes `first` to `last` of a seed, their images halved by averaging."""
    found = []
    for number in range(first, last):
        one = scene(np.random.default_rng([seed, number]))
        image = np.asarray(one["image"], np.float32).reshape(SIZE, 2, SIZE, 2, 3).mean((1, 3))
        found.append({**one, "image": np.rint(image).astype(np.uint8)})
    return tuple(found)


def split_scenes(task: str, sizes: tuple[int, int, int] = (SOURCE, TRAIN, TEST)) -> Split:
    """Networks of all these tasks learn from the same scenes; each target has scenes of its own."""
    label, classes = LABELS[task]
    mine = SEED + 1 + _ORDER.index(task)
    bounds = ((SEED, 0, sizes[0]), (mine, 0, sizes[1]), (mine, sizes[1], sizes[1] + sizes[2]))
    parts = [_collect(draw_scenes(*one), label) for one in bounds]
    return Split(parts[0], parts[1], parts[2], tuple(classes))


def _collect(scenes: tuple[dict[str, np.ndarray | int], ...], label: str) -> Part:
    labels = np.array([int(one[label]) for one in scenes])
    order = np.argsort(labels, kind="stable")
    return Part(np.stack([np.asarray(one["image"]) for one in scenes])[order], labels[order])
