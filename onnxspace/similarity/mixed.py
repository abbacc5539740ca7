"""Models in a row, each with its maps or only a fingerprint: how alike they are, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxspace.similarity.affinity import Affinity
from onnxspace.similarity.certainty import certainty
from onnxspace.similarity.fingerprints.file import Fingerprint, print_matrix, project_file
from onnxspace.similarity.gram import DEFAULT_MEMORY, affinity_matrix
from onnxspace.similarity.per_image import PerImageShares, Prints, read_per_image

#: Up to so many models, the certainty of every ranking is kept with a result.
MAX_CERTAIN_MODELS = 100
#: A model as it is compared: the file of its unit maps, or what is left of them.
MapsOrFingerprint = Path | Fingerprint
Matrix = NDArray[np.float64]
#: As `affinity_rows`: new files, old files, bytes of memory, and who hears of the share that is done.
Rows = Callable[[Sequence[Path], Sequence[Path], int, Callable[[float], None] | None], Matrix]
#: Called with what is being done, and how many of how many targets are behind.
Progress = Callable[[str, int, int], None]


def affinities(
    models: Sequence[MapsOrFingerprint], rows: Rows | None = None, memory: int = DEFAULT_MEMORY
) -> tuple[Matrix, Matrix | None]:
    """Affinities and their standard errors (None: all are from maps), float64 [models, models].

    Where one of two models has only a fingerprint, the other's maps are reduced to one as well. `rows` compares files of maps
    elsewhere than in this process; `memory` bounds the bytes of maps that are held at once. Raises ProbeError and ConfigError where fingerprints can't be compared.
    """
    files = [one for one in models if isinstance(one, Path)]
    if len(files) == len(models):
        return (_matrix(files, rows, memory) if files else np.zeros((0, 0))), None
    matrix, errors = print_matrix(as_prints(models))
    mapped = [i for i, one in enumerate(models) if isinstance(one, Path)]
    if files:
        matrix[np.ix_(mapped, mapped)], errors[np.ix_(mapped, mapped)] = _matrix(files, rows, memory), 0.0
    return matrix, errors


def _matrix(files: Sequence[Path], rows: Rows | None, memory: int) -> Matrix:
    return affinity_matrix(files, memory) if rows is None else rows(files, [], memory, None)


def as_prints(models: Sequence[MapsOrFingerprint]) -> list[Fingerprint]:
    """Fingerprints of all, files of maps reduced to the same kind; none where no model is one."""
    like = next((one for one in models if isinstance(one, Fingerprint)), None)
    if like is None:
        return []
    return [one if isinstance(one, Fingerprint) else replace(like, prints=_printed(one, like)) for one in models]


def _printed(path: Path, like: Fingerprint) -> NDArray[np.float16]:
    return project_file(path, like.numbers, like.seed)


def with_certainty_of_predictivity(
    found: Affinity, targets: bool | Sequence[str], known: Mapping[int, PerImageShares]
) -> Affinity:
    """The same with the certainty of rankings by predictivity, of `targets` (names; True: of all) of which something is `known`."""
    rows = {i: one for i, one in known.items() if targets is True or (targets and found.names[i] in targets)}
    sure = {found.names[i]: certainty(found.rank(found.names[i]), found.names, one) for i, one in rows.items()}
    return replace(found, certainty=sure)


def with_certainty_of_targets(
    found: Affinity, models: Sequence[MapsOrFingerprint], targets: bool | Sequence[str], progress: Progress | None = None,
    memory: int = DEFAULT_MEMORY,
) -> Affinity:  # fmt: skip
    """The same with the certainty of the rankings of `targets`, if any; `models` are what `found` was made from."""
    if not targets:
        return found
    prints = as_prints(models)
    maps = [one if isinstance(one, Path) else None for one in models]
    return with_certainty(found, targets, maps, lambda i: prints[i].prints, memory, progress)


def with_certainty(
    found: Affinity, targets: bool | Sequence[str], maps: Sequence[Path | None], prints: Prints,
    memory: int = DEFAULT_MEMORY, progress: Progress | None = None,
) -> Affinity:  # fmt: skip
    """The same with the certainty of the rankings of `targets` (names; True: of all).

    `maps` and `prints` are those of `found`, of which each model has one at least; targets that are not in it are passed
    over. Raises ConfigError where images × models is over `memory`.
    """
    rows = [i for i, name in enumerate(found.names) if targets is True or (targets and name in targets)]
    sure = {}
    for done, (row, known) in enumerate(zip(rows, read_per_image(rows, maps, prints, memory), strict=True)):
        name = found.names[row]
        if progress is not None:
            progress(f"resampling for {name}", done, len(rows))
        sure[name] = certainty(found.rank(name), found.names, known)
    return replace(found, certainty=sure)
