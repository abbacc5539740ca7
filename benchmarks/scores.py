"""What transferability scores cost, as ratios to other ways of computing the same in the same run.

    python benchmarks/scores.py [sfda] [logme] [memory] [all] [--rounds 3] [--images 5000] [--dimensions 2048] [--classes 100] [--cpu]

`sfda` against the paper's generalised eigenproblem; `logme` against its fixed point after an SVD with the loop over classes
compiled by numba (needs numba); `memory` of linear CKA of two feature sets, beside the features themselves; `all` labelled scores of
one model. Each ratio is the median over rounds in which both take turns. Peers are written here from the formulas. Run it on an
idle machine; absolute seconds mean little elsewhere. On a busy one, `OMP_NUM_THREADS=1` and `--cpu`, which counts seconds of the
processor, come closest.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from onnxspace import scores
from onnxspace.scores.registry import SCORES

Array = NDArray[np.float64]
PARTS = ("sfda", "logme", "memory", "all")
CHILD = """
import json, sys, tracemalloc
from pathlib import Path
import numpy as np
from onnxspace.scores import cka

def peak():  # not ru_maxrss, which a process takes over from its parent
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

images, dimensions = int(sys.argv[1]), int(sys.argv[2])
a, b = (np.random.default_rng(seed).standard_normal((images, dimensions), np.float32) for seed in (0, 1))
cka(a[:32], b[:32])
tracemalloc.start()
before = peak()
value = cka(a, b)
print(json.dumps({"value": value, "traced": tracemalloc.get_traced_memory()[1] / 1e6, "resident": (peak() - before) / 1e3}))
"""


def features(images: int, dimensions: int, classes: int) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Rectified, correlated, with classes that overlap, much as an encoder's last layer gives them."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(images) % classes)
    rank = min(256, dimensions)
    mixed = rng.standard_normal((images, rank)) @ rng.standard_normal((rank, dimensions)) / np.sqrt(rank)
    own = rng.standard_normal((classes, dimensions))[labels] * 0.15
    return np.maximum(own + mixed + 0.5 * rng.standard_normal((images, dimensions)), 0).astype(np.float32), labels


def clock() -> float:
    return time.process_time() if "--cpu" in sys.argv else time.perf_counter()


def seconds(call: Callable[[], object]) -> float:
    start = clock()
    call()
    return clock() - start


def turns(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Median seconds of each, and the median over rounds of peer / ours."""
    pairs = [(seconds(ours), seconds(peer)) for _ in range(rounds)]
    mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return mine, theirs, statistics.median(b / a for a, b in pairs)


def sfda_by_eigenvectors(x: NDArray[np.float32], labels: NDArray[np.intp]) -> float:
    """Two generalised eigenproblems of S_B and S̃_W, all directions kept, and the self-challenge between them."""
    rows, classes = x.astype(np.float64), int(labels.max()) + 1
    shares = np.bincount(labels) / len(rows)
    first, means, shrinkage = fisher(rows, labels, shares, None)
    soft = np.exp(first)
    sure = (soft[np.arange(len(rows)), labels] / soft.sum(axis=1))[:, None]
    others = (means.sum(axis=0) - means) / (classes - 1)
    hard, _, _ = fisher(sure * rows + (1 - sure) * others[labels], labels, shares, shrinkage)
    return float(hard[np.arange(len(rows)), labels].mean())


def fisher(rows: Array, labels: NDArray[np.intp], shares: Array, shrinkage: float | None) -> tuple[Array, Array, float]:
    means = np.array([rows[labels == c].mean(axis=0) for c in range(len(shares))])
    apart, between = rows - means[labels], means - rows.mean(axis=0)
    scatter = apart.T @ apart / len(rows)
    if shrinkage is None:
        vector = scatter.sum(axis=1)
        for _ in range(3):
            before = scatter @ vector / np.linalg.norm(scatter @ vector)
            vector = scatter @ before / np.linalg.norm(scatter @ before)
        shrinkage = max(float(np.exp(-5 * (vector @ scatter @ before))), 1e-10)
    shrunk = (1 - shrinkage) * scatter
    shrunk.flat[:: len(shrunk) + 1] += shrinkage * np.trace(scatter) / len(shrunk)
    _, directions = eigh((shares[:, None] * between).T @ between, shrunk)
    turned, centres = rows @ directions, means @ directions
    values = turned @ centres.T - 0.5 * np.square(centres).sum(axis=1) + np.log(shares)
    chances = np.exp(values - values.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True), means, shrinkage


def compiled_logme() -> Callable[[NDArray[np.float32], NDArray[np.intp]], float]:
    """The fixed point after an SVD of the Gram matrix, classes one after another, the loop compiled."""
    import numba

    @numba.njit(fastmath=False, cache=False)  # type: ignore[untyped-decorator, unused-ignore]
    def loop(along: Array, sigma: Array, squares: Array, images: int, width: int) -> float:
        total = 0.0
        for c in range(along.shape[1]):
            alpha, beta, weights, misfit = 1.0, 1.0, 0.0, 0.0
            outside = squares[c] - along[:, c].sum()
            for _ in range(11):
                ratio = alpha / beta
                gamma, weights, misfit = 0.0, 0.0, outside
                for k in range(len(sigma)):
                    both = sigma[k] + ratio
                    gamma += sigma[k] / both
                    weights += sigma[k] * along[k, c] / both**2
                    misfit += along[k, c] * (ratio / both) ** 2
                alpha, beta = gamma / (weights + 1e-5), (images - gamma) / (misfit + 1e-5)
                if abs(alpha / beta - ratio) <= 1e-3 * ratio:
                    break
            inside = 0.0
            for k in range(len(sigma)):
                inside += np.log(alpha + beta * sigma[k])
            inside += (width - len(sigma)) * np.log(alpha)
            total += (
                width / 2 * np.log(alpha) + images / 2 * np.log(beta) - inside / 2
                - beta / 2 * misfit - alpha / 2 * weights - images / 2 * np.log(2 * np.pi)
            ) / images  # fmt: skip
        return total / along.shape[1]

    def score(x: NDArray[np.float32], labels: NDArray[np.intp]) -> float:
        rows, columns = x.astype(np.float64), np.eye(int(labels.max()) + 1)[labels]
        _, sigma, turned = np.linalg.svd(rows.T @ rows)
        kept = sigma > 1e-10 * sigma[0]
        left = rows @ turned[kept].T / np.sqrt(sigma[kept])
        along = np.ascontiguousarray(np.square(left.T @ columns))
        return float(loop(along, sigma[kept], np.square(columns).sum(axis=0), *rows.shape))

    return score


def compare(name: str, what: str, ours: Callable[[], float], peer: Callable[[], float], rounds: int) -> None:
    print(f"{name}: {ours():.9f}, {what}: {peer():.9f}")  # also warms both up
    mine, theirs, ratio = turns(ours, peer, rounds)
    print(f"  {mine:6.2f} s against {theirs:6.2f} s: {ratio:.1f} times as fast", flush=True)


def memory(images: int, dimensions: int) -> None:
    command = [sys.executable, "-c", CHILD, str(images), str(dimensions)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"unbiased linear cka of two sets {images} × {dimensions}: {found['value']:+.5f}")
    print(f"  {found['traced']:.0f} MB of arrays beside the features, {found['resident']:.0f} MB resident", flush=True)


def everything(x: NDArray[np.float32], labels: NDArray[np.intp]) -> None:
    """Every score with labels, features prepared once."""
    logits = np.random.default_rng(1).standard_normal((len(x), 1000))
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    start = clock()
    ready = scores.prepare(x, labels)
    for name, spec in SCORES.items():
        given = {"features": (ready,), "probabilities": (chances, labels), "source labels": (chances.argmax(1), labels)}
        if spec.needs != "pair":
            begun, score = clock(), spec.load()
            value = score(*given[spec.needs])
            print(f"  {name:14}{value:14.5f}{clock() - begun:8.2f} s", flush=True)
    print(f"all labelled scores of one model: {clock() - start:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    for name, size in (("images", 5000), ("dimensions", 2048), ("classes", 100)):
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--cpu", action="store_true", help="count seconds of the processor")
    told = parser.parse_args()
    parts = told.parts or PARTS
    x, labels = features(told.images, told.dimensions, told.classes)
    print(f"{told.images} images, {told.dimensions} dimensions, {told.classes} classes, float32")
    if "sfda" in parts:
        ours, peer = lambda: scores.sfda(x, labels), lambda: sfda_by_eigenvectors(x, labels)
        compare("sfda", "by eigenvectors", ours, peer, told.rounds)
    if "logme" in parts:
        compiled = compiled_logme()
        compare("logme", "by numba", lambda: scores.logme(x, labels), lambda: compiled(x, labels), told.rounds)
    if "memory" in parts:
        memory(told.images, told.dimensions)
    if "all" in parts:
        everything(x, labels)


if __name__ == "__main__":
    main()
