"""Files of probe images: rooms, generated images, and photographs where there are some."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from models.minitaskonomy.study.jobs import DEFAULT
from models.minitaskonomy.tasks import SIZE
from onnxspace.inputs.probes import DEFAULT_IMAGES, DEFAULT_SIZE, Probes

PROBES = 512


def write_probe_sets(work: Path, images: Callable[[], Any], photos: Path | None) -> dict[str, Path]:
    """Files of probe images, uint8 [images, side, side, 3], by the set's name."""
    sizes = {"generated": (PROBES, SIZE), DEFAULT: (DEFAULT_IMAGES, DEFAULT_SIZE)}
    made: dict[str, Callable[[], Any]] = {
        "rooms": images,
        **{name: functools.partial(_generate, *size) for name, size in sizes.items()},
    }
    if photos is not None:
        made["photos"] = lambda: Probes.from_folder(photos, PROBES, SIZE).images
    folder, found = work / "probes", {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, make_images in made.items():
        found[name] = folder / f"{name}.npy"
        if name in sizes and _is_generated(found[name], *sizes[name]):
            continue
        with (partial := folder / f".{name}.partial").open("wb") as file:
            np.save(file, np.ascontiguousarray(make_images(), dtype=np.uint8)[:PROBES])
        partial.replace(found[name])
    return found


def _generate(images: int, size: int) -> np.ndarray:
    return Probes.generate(images, size).images


def _is_generated(file: Path, images: int, size: int) -> bool:
    """Whether a file holds the embedded images already, by the first and the number of them."""
    try:
        there = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return there.shape == (images, size, size, 3) and np.array_equal(there[:1], Probes.generate(1, size).images)
