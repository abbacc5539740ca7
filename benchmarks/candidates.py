"""What candidates by use miss among real features: `python -m benchmarks.candidates PICTURES [MODELS …]`.

The sources are features at up to 20 tensors of each network in the folders MODELS (all networks of this repository), the targets are
the networks' outputs, all on 64 of the PICTURES. Every source is scored exactly for every target; sources of the target's own
network are left out. Prints how many of the ten best of all by `mean_rank` are the ten best among the candidates, which are chosen
as a space chooses them, beside candidates by duality-diagram similarity.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from onnxspace.errors import OnnxspaceError
from onnxspace.inputs.config import Config
from onnxspace.inputs.probes import Probes
from onnxspace.model.encoder import Encoder, Trunk
from onnxspace.model.features import write_features
from onnxspace.model.outputs import find_float_outputs
from onnxspace.quiet import silence_libraries
from onnxspace.scores.directed import Comparison, knn_agreements, probability_predictivities
from onnxspace.scores.folds import FOLDS, assign_folds, hash_images, order_by_content
from onnxspace.scores.pairs.dds import centred_similarities
from onnxspace.scores.pointwise_readout import predict_pictures
from onnxspace.scores.reduce import ReducedArrays, reduce_arrays
from onnxspace.scores.source_rows import AnswersOfTarget, make_row
from onnxspace.similarity.fingerprints.reduced import Reduced
from onnxspace.similarity.mean_rank import combine_ranks
from onnxspace.workflows.child.open import prepare_model

IMAGES, CUTS = 64, 20
#: Candidates where answers are pictures, and how many of them are kept.
PICTURES = ((27, 27), (99, 99), (60, 20), (60, 30), (99, 20), (99, 30), (150, 20), (150, 30), (200, 20), (200, 30))
ROOT = Path(__file__).parent.parent / "models"
FOLDERS = (ROOT, ROOT / "minitaskonomy", ROOT / "realzoo/sources", ROOT / "realzoo/targets")
Matrix = NDArray[np.float64]


def main() -> None:
    """Print a line for targets that answer per image, and one for those whose answers are pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("models", nargs="*", type=Path, default=FOLDERS)
    parser.add_argument("--every", type=int, default=1, help="take every so many of the sources")
    parser.add_argument("--candidates", type=int, default=99)
    parser.add_argument("--answers", choices=("images", "pictures"), help="targets of one kind only")
    given = parser.parse_args()
    probes = Probes.from_folder(given.pictures, IMAGES)
    order = order_by_content(hash_images(probes.images))
    paths = [path for folder in given.models for path in sorted(folder.glob("*.onnx"))]
    with TemporaryDirectory() as folder, silence_libraries():
        found = [one for path in paths for one in read_network(path, probes, order, Path(folder))]
    sources = [(name, one) for name, one in found[:: given.every] if one.similarities is not None]
    for words, pictures in (("answers per image", False), ("answers in pictures", True)):
        if given.answers == ("images" if pictures else "pictures"):
            continue
        targets = [(name, one) for name, one in found if one.answers is not None and one.answers_in_pictures == pictures]
        if targets and pictures:
            describe_pictures(targets, sources)
        elif targets:
            print(f"{words}: {describe(targets, sources, given.candidates)}", flush=True)


def read_network(path: Path, probes: Probes, order: NDArray[np.intp], folder: Path) -> Iterator[tuple[str, Reduced]]:
    """A network's features at some tensors in little, the first with its outputs; nothing of one that can't be read."""
    at = folder / "values.npy"
    try:
        model = prepare_model(path, path.stem, None, Config())
        write_features(model.model, find_float_outputs(model.model), probes.images, at, "fit")
        outputs: Any = np.load(at)
        names = [one.tensor for one in Trunk(model.model).candidates() if one.elements]
    except OnnxspaceError as error:
        print(f"left out: {error}")
        return
    picked = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, CUTS).astype(int))] if len(names) > CUTS else names
    for encoder in (model.encoder, *(Encoder((name,), "") for name in picked)):
        try:
            write_features(model.model, encoder, probes.images, at, "fit")
            reduced = reduce_arrays("pictures", order, np.load(at), outputs, {})
        except OnnxspaceError:  # features that are not finite
            continue
        outputs = None
        yield str(path), reduced


def describe(targets: Sequence[tuple[str, Reduced]], sources: Sequence[tuple[str, Reduced]], count: int) -> str:
    """Recall of the candidates of each target, mean over targets."""
    values, shown = score(targets, sources), []
    rows = np.array([make_row(one, IMAGES) for _, one in sources])
    for i, (name, target) in enumerate(targets):
        others = [j for j, (own, _) in enumerate(sources) if own != name and np.isfinite(values[:, i, j]).all()]
        answers = AnswersOfTarget.of(target)
        assert answers is not None
        estimates = answers.score(rows)[:, others]
        exact = values[:, i, others]
        shown.append([find_recall(exact, combine_ranks(estimates[:, None])[0], count),
                      find_recall(exact, compare_similarities(target, [sources[j][1] for j in others]), count)])  # fmt: skip
    new, old = np.mean(shown, axis=0)
    quantile = np.quantile(np.array(shown)[:, 0, 0], 0.1)
    return (
        f"{len(targets)} targets, {len(sources)} sources, {count} candidates; recall@10 {new[0]:.2f} (a tenth of targets below "
        f"{quantile:.2f}), {new[1]:.2f} of the ten among the candidates; by duality-diagram similarity {old[0]:.2f}, {old[1]:.2f}"
    )


def describe_pictures(targets: Sequence[tuple[str, Reduced]], sources: Sequence[tuple[str, Reduced]]) -> None:
    """Print recall where candidates by a readout of each position are chosen among the first ones."""
    values, rows = score(targets, sources), np.array([make_row(one, IMAGES) for _, one in sources])
    shown: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for i, (name, target) in enumerate(targets):
        others = [j for j, (own, _) in enumerate(sources) if own != name and np.isfinite(values[:, i, j]).all()]
        answers = AnswersOfTarget.of(target)
        assert answers is not None
        first, exact = combine_ranks(answers.score(rows)[:, others][:, None])[0], values[:, i, others]
        near = predict_pictures(target, [sources[j][1] for j in others])
        for wide, few in PICTURES:
            kept = np.argsort(-first, kind="stable")[:wide]
            second = np.full(len(others), -np.inf)
            second[kept] = first[kept] if wide == few else combine_ranks(near[:, kept][:, None])[0]
            shown.setdefault((wide, few), []).append(find_recall(exact, second, few))
    print(f"answers in pictures: {len(targets)} targets, {len(sources)} sources; {describe_cost(targets[:1], sources[:20])}")
    for (wide, few), found in shown.items():
        recall, held = np.mean(found, axis=0)
        print(f"  {few} of {wide} candidates: recall@10 {recall:.2f}, {held:.2f} of the ten among the candidates", flush=True)


def describe_cost(target: Sequence[tuple[str, Reduced]], sources: Sequence[tuple[str, Reduced]]) -> str:
    """What a source takes for one target, by the readout of positions and by the full one with neighbours."""
    starts = [time.perf_counter()]
    with threadpool_limits(1, user_api="blas"):  # as a search has it
        predict_pictures(target[0][1], [one for _, one in sources])
        starts.append(time.perf_counter())
        score(target, sources)
    starts.append(time.perf_counter())
    few, full = (1e3 * (b - a) / len(sources) for a, b in pairwise(starts))
    return f"{few:.0f} ms for a source by the readout of positions, {full:.0f} ms by the full one"


def score(targets: Sequence[tuple[str, Reduced]], sources: Sequence[tuple[str, Reduced]]) -> Matrix:
    """Both members of `mean_rank`, float64 [2, targets, sources]."""
    rows = np.argsort(sources[0][1].order, kind="stable")
    folds = assign_folds(sources[0][1].order[rows], FOLDS)
    sides = [(ReducedArrays(one).load("outputs")[rows], None) for _, one in targets]
    found = np.full((2, len(targets), len(sources)), np.nan)
    for j, (_, one) in enumerate(sources):
        among = Comparison([str(i) for i in range(len(targets) + 1)], folds)
        both = [*sides, (None, ReducedArrays(one).load("features")[rows])]
        found[:, :, j] = [each(both, among).matrix[:-1, -1] for each in (probability_predictivities, knn_agreements)]
    return found


def compare_similarities(target: Reduced, sources: Sequence[Reduced]) -> NDArray[np.float64]:
    """Duality-diagram similarity of a target's outputs with features."""
    outputs = ReducedArrays(target).load("outputs")
    wanted = centred_similarities(outputs.rows.reshape(outputs.images, -1))
    return np.array([np.vdot(wanted, ReducedArrays(one).load_similarities()) for one in sources])


def find_recall(exact: Matrix, estimated: NDArray[np.float64], count: int) -> tuple[float, float]:
    """The share of the ten best of all among the ten best of the candidates, and among all candidates."""
    ranks = combine_ranks(exact[:, None])[0]
    least = np.sort(ranks)[-10]
    kept = np.argsort(-estimated, kind="stable")[:count]
    best = kept[np.argsort(-combine_ranks(exact[:, kept][:, None])[0], kind="stable")[:10]]
    return float(np.mean(ranks[best] >= least)), min(1.0, float(np.sum(ranks[kept] >= least)) / 10)


if __name__ == "__main__":
    main()
