"""What `--cluster local:2` costs and saves: ten models of models/ by one process, and by two workers of it.

    python benchmarks/cluster.py [--rounds 3] [--images 64 512]

Both run in fresh processes by turns; ratios are those of the medians, above 1 where the cluster takes more: of wall time,
and of processor time (of all processes), which a busy machine disturbs less. `start` is what a cluster takes before any
work: two models on one image. On two cores both have the same processors, so that only overlap can win. Run it on an idle
machine; absolute seconds mean little elsewhere.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

MODELS = [str(path) for path in sorted((Path(__file__).parent.parent / "models").glob("*.onnx"))[:10]]
WORKERS = ("--cluster", "local:2")


def seconds(*arguments: str) -> tuple[float, float]:
    """Wall time of one run of the command line, and processor time with that of its workers."""
    start, before = time.perf_counter(), processors()
    subprocess.run([sys.executable, "-m", "onnxspace", "score", *arguments], check=True, capture_output=True)
    return time.perf_counter() - start, processors() - before


def processors() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(name: str, rounds: int, *arguments: str) -> None:
    alone, shared = [], []
    for _ in range(rounds):
        alone.append(seconds(*arguments))
        shared.append(seconds(*arguments, *WORKERS))
    for what, one, two in zip(("wall", "processor"), zip(*alone, strict=True), zip(*shared, strict=True), strict=True):
        a, b = statistics.median(one), statistics.median(two)
        print(f"{name:<24} {what:<10} one process {a:6.1f} s   local:2 {b:6.1f} s   ratio {b / a:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, nargs="+", default=[64, 512])
    given = parser.parse_args()
    compare("start", given.rounds, *MODELS[:2], "--images", "1")
    for images in given.images:
        compare(f"{len(MODELS)} models, {images} images", given.rounds, *MODELS, "--images", str(images))


if __name__ == "__main__":
    main()
