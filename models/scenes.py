"""Scenes drawn from a seed: shaded shapes in haze on a textured ground, with their labels.

Every task of the zoo reads its labels from the same scenes, as in a multi-task benchmark.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE = 64
SHAPES = ("circle", "square", "triangle", "star", "cross")
TEXTURES = ("plain", "stripes", "checks", "blobs")
COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
MOST_OBJECTS = 4
LIGHTS = 8
TRAIN = (1, 8000)  # (seed, number of scenes)
TEST = (2, 1000)
SHOWN = (3, 4)  # the images of native_maps.npz
PROBES = (4, 32)  # the images of the affinity table

_Y, _X = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5
_HAZE = np.array([0.62, 0.64, 0.68], np.float32)


def hue_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """One colour, float32[3] in 0..1, from a hue in turns."""
    wheel = np.abs(((hue + np.array([0, 2 / 3, 1 / 3])) % 1) * 6 - 3) - 1
    return (value * (1 - saturation + saturation * np.clip(wheel, 0, 1))).astype(np.float32)


def polygon(x: np.ndarray, y: np.ndarray, sides: int, inner: float) -> np.ndarray:
    """Signed distance (about) to a star of `sides` tips, its notches at radius `inner`."""
    sector = np.pi / sides
    angle = np.abs((np.arctan2(y, x) + sector) % (2 * sector) - sector)
    radius = np.hypot(x, y)
    tip, notch = np.array([1.0, 0.0]), inner * np.array([np.cos(sector), np.sin(sector)])
    normal = np.array([notch[1] - tip[1], tip[0] - notch[0]]) / np.hypot(*(notch - tip))
    return (radius * np.cos(angle) - 1) * normal[0] + radius * np.sin(angle) * normal[1]


def distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the edge of a shape of unit size, negative inside."""
    if shape == "circle":
        return np.hypot(x, y) - 0.85
    if shape == "star":
        return polygon(x, y, 5, 0.42)
    if shape == "cross":
        x, y = np.abs(x), np.abs(y)
        return np.minimum(np.maximum(x - 0.95, y - 0.32), np.maximum(x - 0.32, y - 0.95))
    sides = {"triangle": 3, "square": 4}[shape]
    return polygon(x, y, sides, np.cos(np.pi / sides))


def blobs(rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in -1..1: a random coarse grid, enlarged."""
    grid = rng.normal(size=(12, 12)).astype(np.float32)
    at = np.linspace(0, 10.99, SIZE)
    low, part = at.astype(int), (at % 1).astype(np.float32)
    rows = grid[low] * (1 - part[:, None]) + grid[low + 1] * part[:, None]
    return np.tanh(1.5 * (rows[:, low] * (1 - part) + rows[:, low + 1] * part))


def ground(texture: str, rng: np.random.Generator) -> np.ndarray:
    """The background, float32[64, 64, 3]: two near colours mixed by a pattern."""
    hue, saturation, value = rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.3, 0.75)
    first = hue_to_rgb(hue, saturation, value)
    second = np.clip(first + rng.choice([-1, 1]) * rng.uniform(0.12, 0.25), 0, 1)
    turn, step = rng.random() * np.pi, rng.uniform(5, 11)
    along = np.cos(turn) * _X + np.sin(turn) * _Y + rng.uniform(0, step)
    across = np.cos(turn) * _Y - np.sin(turn) * _X
    pattern = {
        "plain": lambda: (along - along.mean()) / 45,
        "stripes": lambda: np.tanh(4 * np.sin(2 * np.pi * along / step)),
        "checks": lambda: np.tanh(6 * np.sin(np.pi * along / step) * np.sin(np.pi * across / step)),
        "blobs": lambda: blobs(rng),
    }[texture]()
    return first + (second - first) * (0.5 + 0.5 * pattern[..., None]).astype(np.float32)


def places(count: int, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """(depth, x, y, radius) of each object, the farthest first; near ones are larger."""
    while True:
        depth = np.sort(np.append(rng.uniform(0.35, 0.9, count - 1), rng.uniform(0, 0.2)))[::-1]
        radius = 23 / (1 + 1.6 * depth) * rng.uniform(0.92, 1.08, count)
        x, y = (rng.uniform(0.7 * radius, SIZE - 0.7 * radius) for _ in range(2))
        gap = np.hypot(x[:, None] - x, y[:, None] - y) - 0.75 * (radius[:, None] + radius)
        if (gap[~np.eye(count, dtype=bool)] > 0).all():
            return list(zip(depth, x, y, radius, strict=True))


def paint(
    scene: dict, depth: float, x: float, y: float, radius: float, light: float, rng: np.random.Generator
) -> tuple[int, int]:
    """Draw one object over `scene`; its shape and colour class."""
    shape, colour = rng.integers(len(SHAPES)), rng.integers(len(COLOURS))
    turn = rng.random() * 2 * np.pi
    u, v = (_X - x) / radius, (_Y - y) / radius
    side = np.cos(turn) * u + np.sin(turn) * v
    inside = distance(SHAPES[shape], side, np.cos(turn) * v - np.sin(turn) * u) * radius
    cover = np.clip(0.5 - inside, 0, 1)[..., None].astype(np.float32)
    shade = 1 + 0.4 * (np.cos(light) * u + np.sin(light) * v)
    if rng.random() < 0.4:
        shade = shade * (1 - 0.2 * (np.sin(side * rng.uniform(6, 12)) > 0))
    hue = colour / len(COLOURS) + rng.uniform(-0.05, 0.05)
    tint = hue_to_rgb(hue, rng.uniform(0.65, 1), rng.uniform(0.7, 1))
    body = np.clip(tint * shade[..., None], 0, 1) * (1 - 0.6 * depth) + _HAZE * 0.6 * depth
    scene["image"] = scene["image"] * (1 - cover) + body.astype(np.float32) * cover
    solid = inside < 0
    scene["depth"][solid], scene["object"][solid] = depth, scene["object"].max() + 1
    return int(shape), int(colour)


def edges(objects: np.ndarray) -> np.ndarray:
    """Pixels whose right, lower or opposite neighbour belongs to another object."""
    edge = np.zeros(objects.shape, bool)
    down, right = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def scene(rng: np.random.Generator) -> dict[str, np.ndarray | int]:
    """One scene: `image` uint8[64, 64, 3] and the label of every task."""
    texture, count = int(rng.integers(len(TEXTURES))), int(rng.integers(1, MOST_OBJECTS + 1))
    bin_, light = divmod(rng.random() * LIGHTS, 1)
    light = (bin_ + 0.15 + 0.7 * light) * 2 * np.pi / LIGHTS
    lit = 1 + (np.cos(light) * (_X - 32) + np.sin(light) * (_Y - 32)) / 32 * 0.18
    drawn = {
        "image": ground(TEXTURES[texture], rng) * lit[..., None].astype(np.float32),
        "depth": np.ones((SIZE, SIZE), np.float32),
        "object": np.zeros((SIZE, SIZE), np.uint8),
    }
    for place in places(count, rng):
        shape, colour = paint(drawn, *place, light, rng)
    noise = rng.normal(scale=rng.uniform(0.01, 0.04), size=drawn["image"].shape)
    image = np.clip(np.rint(255 * (drawn["image"] + noise)), 0, 255).astype(np.uint8)
    return {
        "image": image,
        "shape": shape,
        "colour": colour,
        "count": count - 1,
        "texture": texture,
        "light": int(bin_),
        "depth": drawn["depth"],
        "mask": drawn["object"] > 0,
        "edges": edges(drawn["object"]),
    }


def scenes(seed: int, number: int) -> dict[str, np.ndarray]:
    """`number` scenes stacked by label name; scene n depends on the seed and n alone."""
    rows = [scene(np.random.default_rng([seed, n])) for n in range(number)]
    return {key: np.stack([np.asarray(row[key]) for row in rows]) for key in rows[0]}


def cached(which: tuple[int, int], work: Path) -> dict[str, np.ndarray]:
    """`scenes(*which)`, kept in `work` between runs."""
    path = work / f"scenes-{which[0]}-{which[1]}.npz"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        np.savez(path, **scenes(*which))
    with np.load(path) as stored:
        return {key: stored[key] for key in stored}
