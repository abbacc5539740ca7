"""What adding one fingerprint to a large space costs: python -m benchmarks.space_add [--models 10000] [--rounds 25].

Fingerprints hold sketches, features and outputs in little, all random, of 64 images. One after the other is added by `Space.add`
to a space of so many models, to one of 100 and, in turns, as many small files are written and synchronised as an addition
synchronises: 4 of its own and 8 of SQLite's, for two transactions. Medians of wall time, and processor time.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import onnxspace as ox
from onnxspace.inputs.protocol import Protocol
from onnxspace.scores.folds import hash_images, order_by_content
from onnxspace.scores.reduce import reduce_arrays
from onnxspace.similarity.fingerprints.file import Fingerprint, write_fingerprint

FEW, SYNCHRONISED = 100, 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        folder = Path(place)
        large, small = (make_space(folder, count) for count in (given.models, FEW))
        new = iter(list(write_prints(folder / "new", large.protocol, 10**6, 2 * given.rounds)))
        found: dict[str, list[float]] = {name: [] for name in ("large", "small", "synchronising", "processor")}
        for _ in range(given.rounds):
            start = time.process_time()
            found["large"].append(take_time(lambda: large.add(next(new))))
            found["processor"].append(time.process_time() - start)
            found["small"].append(take_time(lambda: small.add(next(new))))
            found["synchronising"].append(take_time(lambda: synchronise(folder)))
    middle = {name: 1e3 * statistics.median(values) for name, values in found.items()}
    print(
        f"One fingerprint to {given.models:,} models: {middle['large']:.0f} ms (bar 150), {middle['processor']:.0f} ms of a processor;"
    )
    print(
        f"to {FEW}: {middle['small']:.0f} ms; {SYNCHRONISED} files written and synchronised: {middle['synchronising']:.0f} ms"
    )


def make_space(folder: Path, models: int) -> ox.Space:
    images = ox.Probes.generate(64, 32).images
    space = ox.Space.create(folder / f"{models}.space", ox.Probes("photos", images))
    space.add(list(write_prints(folder / f"{models}", space.protocol, 0, models)))
    return space


def write_prints(folder: Path, protocol: Protocol, first: int, count: int) -> Iterator[Path]:
    """Write fingerprints of random numbers, numbered from `first`; features and outputs are those of the first."""
    folder.mkdir()
    rng, order = np.random.default_rng(first), order_by_content(hash_images(ox.Probes.generate(64, 32).images))
    features, outputs = (rng.standard_normal((64, columns)).astype(np.float32) for columns in (64, 10))
    one = Fingerprint(
        "", "", "t", protocol.method, protocol.probe, protocol.size, protocol.sha256, np.zeros((64, 64), np.float16), protocol.sketch,
        protocol.fingerprint_options(), protocol.sketch_version, reduce_arrays(protocol.detail, order, features, outputs, {}),
    )  # fmt: skip
    for number in range(first, first + count):
        prints = (rng.standard_normal((64, 64)) / 8).astype(np.float16)
        path = folder / f"m{number}.fp"
        write_fingerprint(path, replace(one, name=path.stem, sha256=f"{number:064x}", prints=prints))
        yield path


def take_time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def synchronise(folder: Path) -> None:
    for number in range(SYNCHRONISED):
        with (folder / f"{number}").open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main()
