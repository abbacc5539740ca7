"""Is a set of pictures assigned to the probe set of its own domain? Measured on domains that the statistic was not chosen on.

    python -m benchmarks.probe_sets IMAGES

IMAGES is the folder `skimage/data` of an installed scikit-image (its wheel has the pictures, as those of scikit-learn and matplotlib
have others; nothing is downloaded). Each domain is
one source of pictures, cut into two parts that share no pixel (its left and its right half, or strips in turn): patches of one part
are the probe set, patches of the other the user's pictures. Prints the share of right assignments by statistic, with a bootstrap interval over domains, and chance.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

from models.scenes import scenes
from onnxspace.inputs import image_statistics as statistics
from onnxspace.inputs.probes import Probes

Array = NDArray[np.float64]
CHOSEN_ON = (
    "astronaut", "brick", "coins", "ihc", "moon", "page", "rocket", "china", "generated-0", "camera", "cell", "chelsea", "coffee",
    "grass", "gravel", "hubble_deep_field", "microaneurysms", "motorcycle_left", "retina", "text", "flower", "digits", "faces",
    "generated small",
)  # fmt: skip
JUDGED_ON = (
    "horse",
    "clock_motion",
    "phantom",
    "color",
    "grace_hopper",
    "Minduka_Present_Blue_Pack",
    "MRI",
    "elevation",
    "scenes",
)
COUNTS, PATCHES, DRAWS = (4, 16, 64), 64, 10
Halves = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_domain(folder: Path, name: str, split: str) -> Halves:
    """Two sets of patches of a domain that share no pixel."""
    if name in ("china", "flower"):
        return cut(load_sample_image(f"{name}.jpg"), split)
    if name == "digits":
        images = np.repeat((load_digits().images / 16 * 255).astype(np.uint8)[..., None], 3, axis=-1)
        return enlarge(images[:64]), enlarge(images[900:964])
    if name == "faces":
        faces = np.repeat((np.load(folder / "lfw_subset.npy")[:100] * 255).astype(np.uint8)[..., None], 3, axis=-1)
        return enlarge(faces[:50]), enlarge(faces[50:])
    if name.startswith("generated"):
        size = 64 if name == "generated small" else 224
        images = Probes.generate(2 * PATCHES, size, 0 if size == 224 else 5).images
        return images[:PATCHES], images[PATCHES:]
    if name == "scenes":
        images = as_pixels(scenes(3, 2 * PATCHES)["image"])
        return images[:PATCHES], images[PATCHES:]
    if name == "MRI":
        with gzip.open(get_sample_data("s1045.ima.gz", asfileobj=False)) as file:
            values = np.frombuffer(file.read(), np.uint16).reshape(256, 256)
        return cut(as_pixels(np.repeat(values[..., None], 3, axis=-1)), split)
    if name == "elevation":
        values = np.load(get_sample_data("jacksboro_fault_dem.npz", asfileobj=False))["elevation"]
        return cut(as_pixels(np.repeat(values[..., None], 3, axis=-1)), split)
    if name in ("grace_hopper", "Minduka_Present_Blue_Pack"):
        folder = Path(get_sample_data("README.txt", asfileobj=False)).parent
    path = next(path for path in folder.iterdir() if path.stem == name)
    return cut(np.asarray(Image.open(path).convert("RGB")), split)


def as_pixels(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values from the least to the largest as 0 to 255, channels last."""
    found = np.asarray(values, float)
    found = np.moveaxis(found, 1, -1) if found.ndim == 4 and found.shape[1] == 3 else found
    return ((found - found.min()) / np.ptp(found) * 255).astype(np.uint8)


def enlarge(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.repeat(3, axis=1).repeat(3, axis=2)


def cut(image: NDArray[np.uint8], split: str) -> Halves:
    """Patches of the two halves of a picture (`halves`), or of strips that belong to them in turn (`strips`)."""
    rng, width = np.random.default_rng(0), image.shape[1]
    step = width // 2 if split == "halves" else min(64, width // 4)
    strips = [image[:, left : left + step] for left in range(0, width - step + 1, step)]
    return tuple(cut_patches(strips[k::2], rng) for k in (0, 1))  # type: ignore[return-value]


def cut_patches(strips: list[NDArray[np.uint8]], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = min(96, *strips[0].shape[:2])
    patches = []
    for number in range(PATCHES):
        part = strips[number % len(strips)]
        top, left = rng.integers(part.shape[0] - side + 1), rng.integers(part.shape[1] - side + 1)
        patches.append(part[top : top + side, left : left + side])
    return np.stack(patches)


def mean_distance(a: Array, b: Array) -> float:
    return float(((a.mean(0) - b.mean(0)) ** 2).sum())


#: Columns of the statistics, and the distance between two sets of them.
PARTS = {"colours": slice(0, 9), "spectrum": slice(9, 19), "edges": slice(19, 28)}
VARIANTS: Mapping[str, tuple[NDArray[np.intp], Callable[..., float]]] = {
    **{name: (np.arange(28)[part], statistics.energy_distance) for name, part in PARTS.items()},
    "colours, spectrum": (np.arange(19), statistics.energy_distance),
    "spectrum, edges": (np.arange(9, 28), statistics.energy_distance),
    "all": (np.arange(28), statistics.energy_distance),
    "all, distance of means": (np.arange(28), mean_distance),
}


def assign(described: Mapping[str, tuple[Array, Array]], variant: str, count: int, rng: np.random.Generator) -> list[float]:
    """Of each domain, the share of draws of `count` pictures that are assigned to it."""
    columns, distance = VARIANTS[variant]
    sets = {name: one[0][:, columns] for name, one in described.items()}
    rates = []
    for name, (_, pictures) in described.items():
        hits = 0
        for _ in range(DRAWS):
            drawn = pictures[rng.choice(len(pictures), min(count, len(pictures)), replace=False)][:, columns]
            scale = statistics.find_scale([drawn, *sets.values()])
            found = {other: distance(drawn / scale, one / scale) for other, one in sets.items()}
            hits += min(found, key=found.__getitem__) == name
        rates.append(hits / DRAWS)
    return rates


def interval(rates: list[float]) -> tuple[float, float]:
    """95 % of the means of domains drawn again."""
    rng = np.random.default_rng(1)
    means = rng.choice(rates, (10_000, len(rates))).mean(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def main() -> None:
    folder = Path(sys.argv[1])
    for title, names in (("chosen on", CHOSEN_ON), ("judged on", JUDGED_ON)):
        for split in ("halves", "strips"):
            both = {name: read_domain(folder, name, split) for name in names}
            described = {
                name: tuple(statistics.describe_images(half).astype(float) for half in pair) for name, pair in both.items()
            }
            print(f"{title} {len(names)} domains, {split}; chance {1 / len(names):.2f}")
            for variant in VARIANTS:
                print_rates(described, variant, names)  # type: ignore[arg-type]


def print_rates(described: Mapping[str, tuple[Array, Array]], variant: str, names: tuple[str, ...]) -> None:
    cells, rates = [], []
    for count in COUNTS:
        rates = assign(described, variant, count, np.random.default_rng(0))
        low, high = interval(rates)
        cells.append(f"{count}: {np.mean(rates):.2f} [{low:.2f}, {high:.2f}]")
    wrong = [name for name, rate in zip(names, rates, strict=True) if rate < 1]
    print(f"  {variant:<24} {'   '.join(cells)}   {', '.join(wrong)}", flush=True)


if __name__ == "__main__":
    main()
