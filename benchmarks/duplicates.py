"""Judge the threshold of `space duplicates` on a folder of networks and on copies of them that are written here.

Run `python benchmarks/duplicates.py FOLDER WORK [--images 32] [--same __dynamo]`: every `.onnx` file of FOLDER is a network of its own,
except that NAME__dynamo.onnx is a copy of NAME.onnx for each suffix of `--same`. Of each network, copies are written to WORK: at the
next opset, optimised by ONNX Runtime (basic, extended), and in half precision. All go into one space. Printed are the affinities of
copies with their network, those of distinct networks, and how many pairs the threshold gets wrong, with exact 95 % intervals.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

import onnxspace as ox
from onnxspace.checking.child.forms import save_optimised, write_form
from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.config import SIDECAR_SUFFIX
from onnxspace.spaces.neighbours import DUPLICATE

FORMS = {"opset": "opset", "extended": "optimised", "half": "half"}
Pairs = list[tuple[float, str, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--same", action="append", default=[], metavar="SUFFIX")
    given = parser.parse_args()
    probes, networks = ox.Probes.generate(given.images), sorted(given.folder.glob("*.onnx"))
    given.work.mkdir(parents=True)
    files = [file for path in networks for file in (path, *write_copies(path, given.work, probes.images))]
    space = ox.Space.create(given.work / "zoo.space", probes)
    added = space.add(files)
    for failure in added.failed:
        print(f"- left out: {failure.error}")
    print_report(space.affinity(), given.same)


def write_copies(path: Path, folder: Path, images: NDArray[np.uint8]) -> list[Path]:
    """Write copies of a network, each with its sidecar; those that can't be written are named."""
    written = []
    try:
        model = ox.open_model(path)
    except OnnxspaceError as error:
        print(f"- left out: {error}")
        return []
    for form in (*FORMS, "basic"):
        target = folder / f"{path.stem}.{form}.onnx"
        try:
            save_optimised(model, target, "ORT_ENABLE_BASIC") if form == "basic" else write_form(
                FORMS[form], model, images, target
            )
        except Exception as error:  # of other libraries
            print(f"- not written: {path.stem} as {form} ({str(error).splitlines()[0][:160]})")
            continue
        beside = path.with_name(path.stem + SIDECAR_SUFFIX)
        if beside.exists():
            shutil.copy(beside, folder / (target.stem + SIDECAR_SUFFIX))
        written.append(target)
    return written


def network_of(name: str, same: Sequence[str]) -> tuple[str, str]:
    """The network that a file is of, and the form in which."""
    stem, form = next(
        ((name.removesuffix(f".{form}"), form) for form in (*FORMS, "basic") if name.endswith(f".{form}")), (name, "")
    )
    for suffix in same:
        if stem.endswith(suffix):
            return stem.removesuffix(suffix), f"{suffix}{form and f' {form}'}"
    return stem, form


def print_report(found: ox.Affinity, same: Sequence[str]) -> None:
    """Print affinities of copies by form, of distinct networks, and the errors of the threshold."""
    copies: dict[str, Pairs] = {}
    distinct: Pairs = []
    for i, j in combinations(range(len(found.names)), 2):
        (first, form), (second, other) = (network_of(found.names[k], same) for k in (i, j))
        value = float(found.matrix[i, j])
        if first != second:
            distinct.append((value, found.names[i], found.names[j]))
        elif not form or not other:
            copies.setdefault(form or other, []).append((value, found.names[i], found.names[j]))
    originals = [pair for pair in distinct if not any(network_of(name, same)[1] for name in pair[1:])]
    print("\n| pair | pairs | affinity | wrong at the threshold | 95 % interval |\n|---|---|---|---|---|")
    for form, pairs in sorted(copies.items()):
        print_row(form, pairs, sum(value < DUPLICATE for value, *_ in pairs))
    every = [pair for pairs in copies.values() for pair in pairs]
    print_row("all copies", every, sum(value < DUPLICATE for value, *_ in every))
    print_row("distinct networks", originals, sum(value >= DUPLICATE for value, *_ in originals))
    print("\nLowest copies: " + list_pairs(sorted(every)[:5]))
    print("Highest distinct: " + list_pairs(sorted(originals, reverse=True)[:8]))


def print_row(name: str, pairs: Pairs, wrong: int) -> None:
    low, high = exact_interval(wrong, len(pairs))
    values = [value for value, *_ in pairs]
    span = f"{min(values):.4f} to {max(values):.4f}"
    print(f"| {name} | {len(pairs)} | {span} | {wrong} | {low:.1%} to {high:.1%} |")


def exact_interval(count: int, total: int) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a share.

    >>> [round(end, 3) for end in exact_interval(0, 10)]
    [0.0, 0.308]
    """
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    return low, 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))


def list_pairs(pairs: Pairs) -> str:
    return "; ".join(f"{value:.3f} {first} – {second}" for value, first, second in pairs)


if __name__ == "__main__":
    main()
