"""How much the scores of fingerprints differ from those of whole models: `python -m benchmarks.fingerprints MODELS [PICTURES]`.

MODELS is a folder of ONNX files, PICTURES one of photos (without it, images are generated). Every pair of models is compared by `knn_agreement` and
`probability_predictivity` of whole features and outputs, and of those that fingerprints hold, for each detail; models whose
outputs are pictures are left out of the detail `images`. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.config import Config
from onnxspace.inputs.probes import Probes
from onnxspace.inputs.protocol import Detail
from onnxspace.model.features import write_features
from onnxspace.model.outputs import find_float_outputs
from onnxspace.quiet import silence_libraries
from onnxspace.scores.directed import Comparison, knn_agreements, probability_predictivities
from onnxspace.scores.folds import FOLDS, assign_folds, hash_images, order_by_content
from onnxspace.scores.reduce import ReducedArrays, reduce_arrays
from onnxspace.similarity.fingerprints.reduced import pack
from onnxspace.similarity.mean_rank import combine_ranks
from onnxspace.workflows.child.open import prepare_model

Matrix = NDArray[np.float64]
Sides = list[tuple[Any, Any]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("pictures", nargs="?", type=Path, help="without them, generated images")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--every", type=int, default=1, help="take every so many of the models")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, silence_libraries():
        probes = Probes.from_folder(given.pictures, given.images) if given.pictures else Probes.generate(given.images)
        found = list(read_models(sorted(given.models.glob("*.onnx"))[:: given.every], probes, Path(folder)))
        print("| detail | models | KB per model, largest | knn_agreement | probability_predictivity | τ | same first |")
        print("|---|---|---|---|---|---|---|")
        for detail in ("images", "pictures"):
            compare(detail, found, order_by_content(hash_images(probes.images)))


def read_models(paths: Sequence[Path], probes: Probes, folder: Path) -> Iterator[tuple[Any, Any]]:
    """Outputs and features of each model on the images; models that have none are left out."""
    for path in paths:
        try:
            found = prepare_model(path, path.stem, None, Config())
            outputs, features = folder / f"{path.stem}.outputs.npy", folder / f"{path.stem}.features.npy"
            write_features(found.model, find_float_outputs(found.model), probes.images, outputs, "fit")
            write_features(found.model, found.encoder, probes.images, features, "fit")
        except OnnxspaceError as error:
            print(f"left out: {error}")
        else:
            yield np.load(outputs, mmap_mode="r"), np.load(features, mmap_mode="r")


def compare(detail: Detail, models: Sides, order: NDArray[np.intp]) -> None:
    """Print the line of one detail."""
    held = [ReducedArrays(reduce_arrays(detail, order, features, outputs, {})) for outputs, features in models]
    kept = [i for i, one in enumerate(held) if detail == "pictures" or "pictures" not in one.lost.get("outputs", "")]
    folds = assign_folds(order, FOLDS)
    whole = compute([models[i] for i in kept], folds)
    little = compute([(held[i].load("outputs"), held[i].load("features")) for i in kept], folds)
    sizes = [len(pack(held[i].reduced)) / 1024 for i in kept]
    errors = [describe_errors(a, b) for a, b in zip(whole[:2], little[:2], strict=True)]
    print(
        f"| {detail} | {len(kept)} | {max(sizes):.0f} | {errors[0]} | {errors[1]} | {describe_ranks(whole[2], little[2])} |",
        flush=True,
    )


def compute(sides: Sides, folds: NDArray[np.intp]) -> list[Matrix]:
    """Matrices of both scores and of the mean rank, without the diagonal."""
    among = Comparison([str(i) for i in range(len(sides))], folds)
    values = np.stack([score(sides, among).matrix for score in (knn_agreements, probability_predictivities)])
    own = np.arange(len(sides))
    values[:, own, own] = np.nan
    return [*values, combine_ranks(values)]


def describe_errors(a: Matrix, b: Matrix) -> str:
    """Mean and 95th percentile of the absolute differences."""
    gaps = np.abs(a - b)[np.isfinite(a) & np.isfinite(b)]
    return f"{gaps.mean():.4f}, {np.quantile(gaps, 0.95):.4f}" if gaps.size else "n/a"


def describe_ranks(a: Matrix, b: Matrix) -> str:
    """Kendall's τ of the rankings, mean over targets, and the share of targets with the same first source."""
    taus, firsts = [], []
    for row, other in zip(a, b, strict=True):
        there = np.isfinite(row) & np.isfinite(other)
        if there.sum() > 2:
            taus.append(kendalltau(row[there], other[there]).statistic)
            firsts.append(np.argmax(row[there]) == np.argmax(other[there]))
    return f"{np.nanmean(taus):.3f} | {np.mean(firsts):.2f}"


if __name__ == "__main__":
    main()
