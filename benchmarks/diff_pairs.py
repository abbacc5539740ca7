"""Does `onnxspace diff` name what was done? python -m benchmarks.diff_pairs [--held] [WORD ...]

Compares all pairs of tests/helpers/diff_matrix (with `--held` those of tests/helpers/diff_held), or those that have a word in their names, and
prints a table: right (verdict and words are), silent (the verdict is right and what was done is not named) or wrong, and the share of untouched
nodes that were recognised.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import onnx

import onnxspace as ox
from tests.helpers.diff_held import HELD
from tests.helpers.diff_judged import Judged, judge
from tests.helpers.diff_matrix import PAIRS, Pair
from tests.helpers.diff_pairs import SIZE


def compare(pair: Pair) -> Judged:
    """Compare a pair on two images, and judge what is said of it."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = Path(folder) / "old.onnx", Path(folder) / "new.onnx"
        for path, model in zip(paths, pair.make(Path(folder)), strict=True):
            onnx.save(model, path)
        return judge(pair, ox.diff(*paths, ox.Probes.generate(2, SIZE), pixels="symmetric"))


def main() -> None:
    logging.disable(logging.WARNING)
    words = [word for word in sys.argv[1:] if word != "--held"]
    pairs = HELD if "--held" in sys.argv else PAIRS
    results = {name: compare(pair) for name, pair in pairs.items() if not words or any(word in name for word in words)}
    print("| pair | found | untouched nodes recognised |\n|---|---|---:|")
    for name, found in results.items():
        faults = f": {'; '.join(found.faults)}" if found.faults else ""
        print(f"| {name} | {found.outcome}{faults} | {100 * found.recognised:.0f} % |")
    counts = Counter(found.outcome for found in results.values())
    least = min(found.recognised for found in results.values())
    print(
        f"\n{len(results)} pairs: "
        + ", ".join(f"{counts[word]} {word}" for word in ("right", "silent", "wrong"))
        + f"; at least {100 * least:.0f} % recognised."
    )


if __name__ == "__main__":
    main()
