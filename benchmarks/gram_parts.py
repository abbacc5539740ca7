"""Where the time of the Gram matrix goes, as shares of the bound: python -m benchmarks.gram_parts [--models 200] [--rounds 12].

The bound is that of `benchmarks/space.py`: a plain product of both triangles, 2 · models² operations per pixel, at the speed of a
float32 product of 2048 × 2048. `TileWorker` is taken apart on one thread: reading 64 images of all files, and for each image
widening, the product of the rows with themselves, and dividing by lengths. Then the ways of each part that could be quicker.
All take turns in every round, by processor time of the thread, so that a busy machine disturbs all alike; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxspace.similarity.tile_worker import MapFiles, TileWorker
from onnxspace.similarity.tiling import Tile, TilePlan, plan_for, tiles_of
from onnxspace.storage.float16 import widen

IMAGES, PIXELS, SQUARE = 64, 4096, 2048
Calls = dict[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1, user_api="blas"):
        files = MapFiles.open(write_maps(Path(folder), given.models))
        plan = plan_for(given.models, None, IMAGES, PIXELS, 2**30)
        print_table(measure(make_calls(files, plan, next(tiles_of(plan))), given.rounds), given.models)


def write_maps(folder: Path, models: int) -> list[Path]:
    """Unit maps, float16 [64, 4096], of models that have a part in common."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((IMAGES, PIXELS), dtype=np.float32)
    files = [folder / f"{model:04}.npy" for model in range(models)]
    for model, path in enumerate(files):
        maps = base * (model % 7 / 3) + rng.standard_normal((IMAGES, PIXELS), dtype=np.float32)
        np.save(path, (maps / np.linalg.norm(maps, axis=1, keepdims=True)).astype(np.float16))
    return files


def make_calls(files: MapFiles, plan: TilePlan, tile: Tile) -> Calls:
    """What is timed, each for one image but for reading and the whole, which are for all."""
    models, square = len(files.paths), np.random.default_rng(0).standard_normal((SQUARE, SQUARE)).astype(np.float32)
    raw, wide = np.ones((models, IMAGES * PIXELS), np.float16), np.ones((models, PIXELS), np.float32)
    half, index, product = raw[:, :PIXELS], np.empty(plan.chunk, np.intp), np.empty((models, models), np.float32)
    files.read(slice(0, models), 0, raw)
    widen(half, wide, index)
    other, turned = wide.copy(), np.ascontiguousarray(wide.T)
    worker, numbers = TileWorker(plan, files, None), [os.open(path, os.O_RDONLY) for path in files.paths]
    return {
        "peak": lambda: square @ square,
        "whole": lambda: [worker.batch(tile, range(first, min(first + plan.rows, IMAGES)), None) for first in range(0, IMAGES, plan.rows)],
        "read": lambda: files.read(slice(0, models), 0, raw),
        "widen": lambda: widen(half, wide, index),
        "product": lambda: np.matmul(wide, wide.T, out=product),
        "divide": lambda: divide(product),
        "read without opening": lambda: [os.preadv(n, [row], files.starts[0]) for n, row in zip(numbers, raw, strict=True)],
        "widen by NumPy's cast": lambda: np.copyto(wide, half),
        "product of two arrays": lambda: np.matmul(wide, other.T, out=product),
        "product, pixels first": lambda: np.matmul(turned.T, turned, out=product),
    }  # fmt: skip


def divide(product: NDArray[np.float32]) -> NDArray[np.float64]:
    total = np.zeros(product.shape)
    total += product
    scale = 1.0 / np.sqrt(product.diagonal().astype(np.float64))
    total *= scale[:, None]
    total *= scale
    return total + total


def measure(calls: Calls, rounds: int) -> dict[str, float]:
    """Median seconds of processor time of each call, in turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.thread_time()
            call()
            found[name].append(time.thread_time() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def print_table(found: dict[str, float], models: int) -> None:
    """Milliseconds per image, and as shares of the bound."""
    bound = 2 * models**2 * PIXELS * found.pop("peak") / (2 * SQUARE**3)
    each = {name: value / (IMAGES if name in ("whole", "read", "read without opening") else 1) for name, value in found.items()}
    print(f"{models} models, maps of {PIXELS} pixels; the bound is {1e3 * bound:.2f} ms per image")
    print("| part | ms per image | of the bound |\n|---|---|---|")
    for name, value in each.items():
        print(f"| {name} | {1e3 * value:.2f} | {value / bound:.0%} |")
    parts = sum(each[name] for name in ("read", "widen", "product"))
    print(f"The whole reaches {bound / each['whole']:.0%} of the bound; read, widen and product alone {bound / parts:.0%}.")


if __name__ == "__main__":
    main()
