"""Comparison of models of which some have maps and others only a fingerprint: affinities and their certainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.inputs.execution import DEFAULT_MEMORY, Progress
from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import PerImage, estimate_certainty, find_brackets
from onnxspace.similarity.fingerprints.file import Fingerprint, print_matrix, project_file
from onnxspace.similarity.gram import RowFunction, affinity_matrix
from onnxspace.similarity.per_image import PrintReader, read_per_image

#: Up to this many models, the certainty of every ranking is stored with a result.
MAX_CERTAIN_MODELS = 100
#: What a model is compared by: the file of its unit maps, or a fingerprint of them.
MapsOrFingerprint = Path | Fingerprint
Matrix = NDArray[np.float64]


def affinities(
    models: Sequence[MapsOrFingerprint], rows: RowFunction | None = None, memory: int = DEFAULT_MEMORY
) -> tuple[Matrix, Matrix | None]:
    """Compute affinities of `models` and their standard errors (None: all are from maps), float64 [models, models] each.

    Where one of two models only has a fingerprint, the other's maps are sketched as well. `rows` compares files of maps
    outside this process (None: here); `memory` bounds the bytes of maps that are held at once. Raises ProbeError or
    ConfigError where fingerprints can't be compared.
    """
    files = [one for one in models if isinstance(one, Path)]
    if len(files) == len(models):
        return (_compare_maps(files, rows, memory) if files else np.zeros((0, 0))), None
    matrix, errors = print_matrix(to_fingerprints(models))
    mapped = [i for i, one in enumerate(models) if isinstance(one, Path)]
    if files:
        matrix[np.ix_(mapped, mapped)], errors[np.ix_(mapped, mapped)] = _compare_maps(files, rows, memory), 0.0
    return matrix, errors


def _compare_maps(files: Sequence[Path], rows: RowFunction | None, memory: int) -> Matrix:
    return affinity_matrix(files, memory) if rows is None else rows(files, [], memory, None)


def to_fingerprints(models: Sequence[MapsOrFingerprint]) -> list[Fingerprint]:
    """Return fingerprints of all `models`, sketching files of maps like the first fingerprint; empty where there is none."""
    like = next((one for one in models if isinstance(one, Fingerprint)), None)
    if like is None:
        return []
    return [one if isinstance(one, Fingerprint) else replace(like, prints=_project_maps(one, like)) for one in models]


def _project_maps(path: Path, like: Fingerprint) -> NDArray[np.float16]:
    return project_file(path, like.numbers, like.seed)


def with_certainty_of_shares(found: Affinity, targets: bool | Sequence[str], known: Mapping[int, PerImage]) -> Affinity:
    """Return `found` with the certainty of rankings by scores of features, for `targets` (names; True: all).

    `known` maps positions of models to their per-image values of the score that ranks their sources; targets that it lacks are
    skipped.
    """
    rows = {i: one for i, one in known.items() if targets is True or (targets and found.names[i] in targets)}
    sure = {found.names[i]: estimate_certainty(found.rank(found.names[i]), found.names, one) for i, one in rows.items()}
    return replace(found, certainty=sure)


def with_brackets(found: Affinity, known: Mapping[int, PerImage]) -> Affinity:
    """Return `found` with the brackets of the rankings of the models at the positions of `known`, as above."""
    brackets = {found.names[i]: find_brackets(found.rank(found.names[i]), found.names, one) for i, one in known.items()}
    return replace(found, brackets={**found.brackets, **brackets})


def with_certainty_of_targets(
    found: Affinity, models: Sequence[MapsOrFingerprint], targets: bool | Sequence[str], progress: Progress | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Affinity:  # fmt: skip
    """Return `found` with the certainty of the rankings of `targets` (names; True: all; False or empty: none).

    `models` are those that `found` was computed from; `progress` and `memory` are as in `with_certainty`.
    """
    if not targets:
        return found
    prints = to_fingerprints(models)
    maps = [one if isinstance(one, Path) else None for one in models]
    return with_certainty(found, targets, maps, lambda i: prints[i].prints, memory, progress)


def with_certainty(
    found: Affinity, targets: bool | Sequence[str], maps: Sequence[Path | None], prints: PrintReader,
    memory: int = DEFAULT_MEMORY, progress: Progress | None = None,
) -> Affinity:  # fmt: skip
    """Return `found` with the certainty of the rankings of `targets` (names; True: all).

    `maps` are the files of unit maps of the models of `found` (None where a model has none), and `prints` returns a model's
    fingerprint by position; each model has at least one of them. Unknown targets are skipped. `memory` bounds the bytes that
    are held at once; `progress` receives a label, the targets done and their number. Raises ConfigError where
    images × models exceeds `memory`.
    """
    rows = [i for i, name in enumerate(found.names) if targets is True or (targets and name in targets)]
    sure = {}
    for done, (row, known) in enumerate(zip(rows, read_per_image(rows, maps, prints, memory), strict=True)):
        name = found.names[row]
        if progress is not None:
            progress(f"resampling for {name}", done, len(rows))
        sure[name] = estimate_certainty(found.rank(name), found.names, known)
    return replace(found, certainty=sure)
